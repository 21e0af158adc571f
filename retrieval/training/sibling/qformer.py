"""Stage one: the Q-Former learns to find in a picture what texts speak of (BLIP-2, arXiv 2301.12597, section 3.2).

Three losses, each with its own attention mask over [queries; text]: ITC, where neither sees the other (two passes);
ITM, where both see everything; ITG, where the text sees the queries and its past, and the queries never see the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.models.blip2 import QFORMER_EPS, TEXT_LENGTH, pair_states, query_states, text_states
from retrieval.models.network import padded
from retrieval.models.preprocess import pre_caption
from retrieval.models.vocabulary import Vocabulary
from retrieval.training.losses import hard_negatives, matching_loss, next_word_loss
from retrieval.training.sibling.batches import CaptionedPictures

HARDNESS = 0.1  # temperature at which negatives are drawn by similarity


class WordHead(nn.Module):
    """The next word from a state, by the word embeddings themselves; it is thrown away after stage one."""

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        width = words.embedding_dim
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=QFORMER_EPS)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Logits `[m, s, words]` of states `[m, s, width]` with embeddings `[words, width]`."""
        return functional.linear(self.norm(functional.gelu(self.dense(states))), words, self.bias)


class QFormerStretch:
    """Trains the Q-Former, its heads and the temperature; the vision tower stays as it is."""

    name = "qformer"

    def __init__(self, model: Any, vocabulary: Vocabulary, *, seed: int) -> None:
        self.word_head = WordHead(model.embeddings.word_embeddings)
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())
        self.trained: nn.Module = nn.ModuleList([_without_tower(model), self.word_head])
        self.trained.register_parameter("query_tokens", model.query_tokens)
        self.trained.register_parameter("log_temperature", self.log_temperature)
        self._model, self._vocabulary, self._seed = model, vocabulary, seed

    def losses(self, batch: CaptionedPictures, step: int) -> dict[str, Tensor]:
        """ITC, ITM and ITG, in equal parts as in the paper."""
        device = self.log_temperature.device
        with torch.no_grad():
            tokens = self._model.vision_model(batch.pixels.to(device)).last_hidden_state
        rows = torch.tensor(batch.rows, device=device)
        truth = batch.truth.to(device)
        similarities = self._similarities(tokens, batch.captions)
        return {
            "itc": pair_contrast(similarities / self.log_temperature.exp().clamp(0.01, 0.5), rows, truth),
            "itm": self._match(batch, tokens, rows, truth, similarities.detach(), step),
            "itg": self._tell(tokens[rows], batch.captions),
        }

    def _similarities(self, tokens: Tensor, captions: Sequence[str]) -> Tensor:
        """`[n, m]`: the greatest cosine over a picture's queries."""
        images = functional.normalize(self._model.vision_projection(query_states(self._model, tokens)).float(), dim=-1)
        states = text_states(self._model, *self._ids(captions, first=self._vocabulary.cls))
        texts = functional.normalize(self._model.text_projection(states[:, 0]).float(), dim=-1)
        return greatest_cosines(images, texts)

    def _match(
        self,
        batch: CaptionedPictures,
        tokens: Tensor,
        rows: Tensor,
        truth: Tensor,
        similarities: Tensor,
        step: int,
    ) -> Tensor:
        """Every true pair, a hard picture for each text, a hard text for each picture, and the false captions."""
        generator = torch.Generator().manual_seed(1_000_003 * self._seed + step)
        pictures = hard_negatives(similarities.T, truth.T, HARDNESS, generator)
        texts = hard_negatives(similarities, truth, HARDNESS, generator)
        every_text = torch.arange(len(rows), device=rows.device)
        every_picture = torch.arange(len(tokens), device=rows.device)
        # A batch in which everything is true has no negative: what was drawn then is labelled as what it is.
        matches = torch.cat(
            [torch.ones_like(rows, dtype=torch.bool), truth[pictures, every_text], truth[every_picture, texts]]
        )
        asked = [
            *batch.captions,
            *batch.captions,
            *(batch.captions[at] for at in texts.tolist()),
            *batch.false_captions,
        ]
        false_rows = torch.tensor(list(batch.false_rows), dtype=torch.long, device=rows.device)
        shown = torch.cat([rows, pictures, every_picture, false_rows])
        labels = torch.cat([matches.long(), torch.zeros_like(false_rows)])
        states, _ = pair_states(self._model, tokens[shown], *self._ids(asked, first=self._vocabulary.cls))
        return matching_loss(self._model.itm_head(states).mean(dim=1), labels)

    def _tell(self, tokens: Tensor, captions: Sequence[str]) -> Tensor:
        ids, mask = self._ids(captions, first=self._vocabulary.dec)
        return next_word_loss(next_word_logits(self._model, self.word_head, tokens, ids, mask), ids, mask.bool())

    def _ids(self, texts: Sequence[str], *, first: int) -> tuple[Tensor, Tensor]:
        rows = [self._vocabulary.sequence(pre_caption(text), first=first, length=TEXT_LENGTH) for text in texts]
        return padded(rows, pad=self._vocabulary.pad, device=str(self.log_temperature.device))


def greatest_cosines(images: Tensor, texts: Tensor) -> Tensor:
    """ITC similarities `[n, m]` of pictures `[n, v, d]` and texts `[m, d]`: the maximum over the v queries."""
    return torch.einsum("nvd,md->nmv", images, texts).amax(dim=2)


def pair_contrast(logits: Tensor, rows: Tensor, truth: Tensor) -> Tensor:
    """ITC over m pairs: logits `[n, m]` of n pictures and m texts, text k with picture `rows[k]`.

    Of every pair the picture has to choose its text among all, and the text its picture; what else is true
    (`truth[n, m]`) leaves the choice. With one text for each picture and nothing else true this is the paper's loss.
    """
    every = torch.arange(logits.shape[1], device=logits.device)
    own_text = functional.one_hot(every).bool()
    own_picture = functional.one_hot(rows, len(logits)).bool()
    to_text = logits[rows].masked_fill(truth[rows] & ~own_text, -torch.inf)
    to_picture = logits.T.masked_fill(truth.T & ~own_picture, -torch.inf)
    return (functional.cross_entropy(to_text, every) + functional.cross_entropy(to_picture, rows)) / 2


def telling_mask(mask: Tensor, queries: int) -> Tensor:
    """The multimodal causal mask of ITG, `[m, 1, v + s, v + s]`: 0 where a row may look, else the least number.

    Queries see queries; a text, whose padding `mask [m, s]` tells, sees the queries, its past and itself.
    """
    length = mask.shape[1]
    seen = torch.zeros(len(mask), queries + length, queries + length, dtype=torch.bool, device=mask.device)
    seen[:, :, :queries] = True
    past = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    seen[:, queries:, queries:] = past & mask.bool()[:, None, :]
    hidden = torch.zeros(seen.shape, device=mask.device).masked_fill(~seen, torch.finfo(torch.float32).min)
    return hidden[:, None]


def next_word_logits(model: Any, head: WordHead, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """ITG: logits `[m, s, words]` for the word after each of `ids [m, s]`, which begin with [DEC]."""
    seen = telling_mask(mask, model.query_tokens.shape[1])
    _, states = pair_states(model, tokens, ids, seen)
    logits: Tensor = head(states, model.embeddings.word_embeddings.weight)
    return logits


def _without_tower(model: Any) -> nn.ModuleList:
    return nn.ModuleList(
        [model.embeddings, model.qformer, model.vision_projection, model.text_projection, model.itm_head]
    )
