"""Stage two: what the queries find becomes the prefix of a language model (BLIP-2, arXiv 2301.12597, section 3.3).

The paper takes a large language model that exists and freezes it. There is none of this size: ours learns first to
write texts without pictures, and then goes on learning together with the Q-Former and the projection, because three
layers that have never seen a prefix cannot be steered by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retrieval.models.blip2 import query_states
from retrieval.models.network import padded
from retrieval.models.spelling import Spelling
from retrieval.training.losses import next_word_loss
from retrieval.training.sibling.batches import Telling, ToldPictures


class LanguageStretch:
    """Trains the language model alone: every word of prompts and replies."""

    name = "language"

    def __init__(self, model: Any, spelling: Spelling) -> None:
        self.trained: nn.Module = model.language_model
        self._model, self._spelling = model, spelling

    def losses(self, batch: Sequence[Telling], step: int) -> dict[str, Tensor]:
        """The loss of the next word."""
        ids, mask, _ = spell(batch, self._spelling, self._model)
        logits = self._model.language_model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return {"language": next_word_loss(logits, ids, mask.bool())}


class PrefixStretch:
    """Trains the second Q-Former, the projection and the language model; the vision tower stays as it is."""

    name = "prefix"

    def __init__(self, model: Any, spelling: Spelling) -> None:
        self.trained: nn.Module = nn.ModuleList([model.qformer, model.language_projection, model.language_model])
        self.trained.register_parameter("query_tokens", model.query_tokens)
        self._model, self._spelling = model, spelling

    def losses(self, batch: ToldPictures, step: int) -> dict[str, Tensor]:
        """The loss of every word of the replies."""
        device = self._model.query_tokens.device
        with torch.no_grad():
            tokens = self._model.vision_model(batch.pixels.to(device)).last_hidden_state
        prefix = self._model.language_projection(query_states(self._model, tokens))
        ids, mask, replied = spell(batch.texts, self._spelling, self._model)
        logits = told_logits(self._model, prefix[torch.tensor(batch.rows, device=device)], ids, mask)
        return {"prefix": next_word_loss(logits, ids, replied)}


def told_logits(model: Any, prefix: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Logits `[m, s, words]` for the word after each of `ids [m, s]`, behind prefixes `[m, v, width]`."""
    embedded = torch.cat([prefix, model.get_input_embeddings()(ids)], dim=1)
    whole = torch.cat([mask.new_ones(prefix.shape[:2]), mask], dim=1)
    logits: Tensor = model.language_model(inputs_embeds=embedded, attention_mask=whole, use_cache=False).logits
    return logits[:, prefix.shape[1] :]


def spell(texts: Sequence[Telling], spelling: Spelling, model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask, and which ids are of the reply or its end, `[m, s]`: the first token, prompt, reply, the end."""
    language = model.config.text_config
    prompts = [[language.bos_token_id, *spelling.encode(text.prompt)] for text in texts]
    replies = [[*spelling.encode(text.reply), language.eos_token_id] for text in texts]
    sequences = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
    ids, mask = padded(sequences, pad=language.pad_token_id, device=str(model.query_tokens.device))
    starts = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)
    replied = mask.bool() & (torch.arange(ids.shape[1], device=ids.device) >= starts[:, None])
    return ids, mask, replied
