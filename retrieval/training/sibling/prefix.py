"""Stage two: what the queries find becomes the prefix of a language model (BLIP-2, arXiv 2301.12597, section 3.3).

The paper takes a large language model that exists and freezes it. There is none of this size: ours learns first to
write texts without pictures, and then goes on learning together with the Q-Former and the projection, because three
layers that have never seen a prefix cannot be steered by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.models.network import padded
from retrieval.models.spelling import Spelling
from retrieval.training.pretraining.forward import see
from retrieval.training.sibling.batches import Telling, ToldPictures, by_length
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
        return {"language": functional.cross_entropy(*next_words(self._model, texts, self._dtype))}


class PrefixStretch:
    """Trains the second Q-Former, the projection and the language model; the vision tower stays as it is.

    The layers compute in `dtype`, the projections and the loss in float32.
    """

    def __init__(self, model: Any, spelling: Spelling, dtype: torch.dtype) -> None:
        self.trained: nn.Module = nn.ModuleList([model.qformer, model.language_projection, model.language_model])
        self.trained.register_parameter("query_tokens", model.query_tokens)
        self._model, self._spelling, self._dtype = model, spelling, dtype

    def losses(self, batch: ToldPictures, step: int) -> dict[str, Tensor]:
        """The loss of every word of the replies."""
        device = self._model.query_tokens.device
        with torch.no_grad():
            tokens = see(self._model.vision_model, batch.pixels.to(device), self._dtype)
        prefix = self._model.language_projection(ask(self._model, tokens)[-1].float())
        texts = [spell(text, self._spelling, self._model) for text in batch.texts]
        rows = torch.tensor(batch.rows, device=device)
        return {"prefix": functional.cross_entropy(*next_words(self._model, texts, self._dtype, prefix, rows))}


def next_words(
    model: Any,
    texts: Sequence[Spelled],
    dtype: torch.dtype,
    prefix: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits `[k, words]` of the k words that are scored, in no order, and the words themselves `int64 [k]`.

    Text i goes on from the prefix `rows[i]` of `prefix [n, v, width]`, or from nothing. The layers compute in `dtype`.
    """
    language, embed = model.language_model, model.get_input_embeddings()
    before = [] if prefix is None else go_on(language, prefix.to(dtype))
    logits, wanted = [], []
    for some in by_length([text.ids for text in texts]):
        ids, mask = padded(
            [texts[row].ids for row in some], pad=model.config.text_config.pad_token_id, device=_on(model)
        )
        starts = torch.tensor([texts[row].scored for row in some], device=ids.device)
        scored = mask.bool() & (torch.arange(ids.shape[1], device=ids.device) >= starts[:, None])
        behind = None if rows is None else rows[torch.tensor(some, device=rows.device)]
        states = go_on(language, embed(ids).to(dtype), before, behind)[-1]
        logits.append(language.lm_head(states[:, :-1][scored[:, 1:]].float()))
        wanted.append(ids[scored])
    return torch.cat(logits), torch.cat(wanted)


def spell(text: Telling, spelling: Spelling, model: Any) -> Spelled:
    """The first token, prompt, reply, the end; the reply and the end are scored."""
    language = model.config.text_config
    prompt = [language.bos_token_id, *spelling.encode(text.prompt)]
    return Spelled([*prompt, *spelling.encode(text.reply), language.eos_token_id], scored=len(prompt))


def _on(model: Any) -> str:
    return str(model.query_tokens.device)
