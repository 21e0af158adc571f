"""Stage two: what the queries find becomes the prefix of a language model (BLIP-2, arXiv 2301.12597, section 3.3).

The paper takes a large language model that exists and freezes it. There is none of this size: ours learns first to
write texts without pictures, and then goes on learning together with the Q-Former and the projection, because three
layers that have never seen a prefix cannot be steered by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.models.network import padded
from retrieval.models.spelling import Spelling
from retrieval.training.captioned import by_length
from retrieval.training.hints import Hints, hint_heads
from retrieval.training.pretraining.forward import see
from retrieval.training.sibling.batches import Telling, ToldPictures
from retrieval.training.sibling.forward import ask, go_on


@dataclass(frozen=True)
class Spelled:
    """The ids of a text, the first token and the end among them, and the number of the first that is scored."""

    ids: list[int]
    scored: int


class LanguageStretch:
    """Trains the language model alone, every word of prompts and replies; its layers compute in `dtype`."""

    def __init__(self, model: Any, spelling: Spelling, dtype: torch.dtype) -> None:
        self.trained: nn.Module = model.language_model
        self._model, self._spelling, self._dtype = model, spelling, dtype

    def losses(self, batch: Sequence[Telling], step: int) -> dict[str, Tensor]:
        """The loss of the next word."""
        texts = [Spelled(spell(text, self._spelling, self._model).ids, scored=1) for text in batch]
        logits, wanted, _ = next_words(self._model, texts, self._dtype)
        return {"language": functional.cross_entropy(logits, wanted)}


class PrefixStretch:
    """Trains the second Q-Former, the projection and the language model; the vision tower stays as it is.

    The layers compute in `dtype`, the projections and the loss in float32.
    """

    def __init__(self, model: Any, spelling: Spelling, dtype: torch.dtype, *, hints: Mapping[str, int]) -> None:
        self.hints = hint_heads(model.config.text_config.hidden_size, hints)
        self.trained: nn.Module = nn.ModuleList(
            [model.qformer, model.language_projection, model.language_model, self.hints]
        )
        self.trained.register_parameter("query_tokens", model.query_tokens)
        self._model, self._spelling, self._dtype = model, spelling, dtype

    def losses(self, batch: ToldPictures, step: int) -> dict[str, Tensor]:
        """The loss of every word of the replies; the same by replies, so that short answers weigh; and the hints."""
        device = self._model.query_tokens.device
        with torch.no_grad():
            tokens = see(self._model.vision_model, batch.pixels.to(device), self._dtype)
        prefix = self._model.language_projection(ask(self._model, tokens)[-1].float())
        texts = [spell(text, self._spelling, self._model) for text in batch.texts]
        rows = torch.tensor(batch.rows, device=device)
        hinted = Hints(self.hints, batch.hints)
        logits, wanted, texts_of = next_words(self._model, texts, self._dtype, prefix, rows, hinted)
        each = functional.cross_entropy(logits, wanted, reduction="none")
        lengths = torch.bincount(texts_of, minlength=len(texts))
        return {
            "words": each.mean(),
            "replies": (each / lengths[texts_of]).sum() / len(texts),
            **hinted.losses(),
        }


def next_words(
    model: Any,
    texts: Sequence[Spelled],
    dtype: torch.dtype,
    prefix: Tensor | None = None,
    rows: Tensor | None = None,
    hinted: Hints | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits `[k, words]` of the k words that are scored, in no order; the words and their texts, both `int64 [k]`.

    Text i goes on from the prefix `rows[i]` of `prefix [n, v, width]`, or from nothing. The layers compute in `dtype`.
    `hinted` gets the states of all texts before the last layer.
    """
    language, embed = model.language_model, model.get_input_embeddings()
    before = [] if prefix is None else go_on(language, prefix.to(dtype))
    logits, wanted, texts_of = [], [], []
    for some in by_length([text.ids for text in texts]):
        ids, mask = padded(
            [texts[row].ids for row in some], pad=model.config.text_config.pad_token_id, device=_on(model)
        )
        starts = torch.tensor([texts[row].scored for row in some], device=ids.device)
        scored = mask.bool() & (torch.arange(ids.shape[1], device=ids.device) >= starts[:, None])
        behind = None if rows is None else rows[torch.tensor(some, device=rows.device)]
        *_, earlier, states = go_on(language, embed(ids).to(dtype), before, behind)
        logits.append(language.lm_head(states[:, :-1][scored[:, 1:]].float()))
        wanted.append(ids[scored])
        numbers = torch.tensor(some, device=ids.device)
        texts_of.append(numbers[:, None].expand_as(ids)[scored])
        if hinted is not None:
            hinted.add(earlier, numbers)
    return torch.cat(logits), torch.cat(wanted), torch.cat(texts_of)


def spell(text: Telling, spelling: Spelling, model: Any) -> Spelled:
    """The first token, prompt, reply, the end; the reply and the end are scored."""
    language = model.config.text_config
    prompt = [language.bos_token_id, *spelling.encode(text.prompt)]
    return Spelled([*prompt, *spelling.encode(text.reply), language.eos_token_id], scored=len(prompt))


def _on(model: Any) -> str:
    return str(model.query_tokens.device)
