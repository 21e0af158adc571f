"""Stage one: the Q-Former learns to find in a picture what texts speak of (BLIP-2, arXiv 2301.12597, section 3.2).

Three losses, each with its own view of queries and text: ITC, where neither sees the other (two passes); ITM, where
both see everything; ITG, where the text sees the queries and its past, and the queries never see the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.models.blip2 import QFORMER_EPS
from retrieval.models.network import padded
from retrieval.models.preprocess import pre_caption
from retrieval.models.vocabulary import Vocabulary
from retrieval.training.captioned import CaptionedPictures, by_length
from retrieval.training.hints import Hints, hint_heads
from retrieval.training.losses import hard_negatives, matching_loss, pair_contrast
from retrieval.training.pretraining.forward import see
from retrieval.training.sibling.forward import ask, compare, read, tell

HARDNESS = 0.1  # temperature at which negatives are drawn by similarity
HINTED = 2  # layers whose texts are asked what the hints ask, the last but one and those before it


class WordHead(nn.Module):
    """The next word from a state, by the word embeddings themselves; it is thrown away after stage one."""

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        width = words.embedding_dim
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=QFORMER_EPS)
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Logits `[..., words]` of states `[..., width]` with embeddings `[words, width]`."""
        return functional.linear(self.norm(functional.gelu(self.dense(states))), words, self.bias)


class QFormerStretch:
    """Trains the Q-Former, its heads and the temperature; the vision tower stays as it is.

    The layers compute in `dtype`, the heads and losses in float32.
    """

    def __init__(
        self, model: Any, vocabulary: Vocabulary, dtype: torch.dtype, *, hints: Mapping[str, int], seed: int
    ) -> None:
        self.word_head = WordHead(model.embeddings.word_embeddings)
        self.hints = hint_heads(model.config.qformer_config.hidden_size, hints)
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())
        self.trained: nn.Module = nn.ModuleList([_without_tower(model), self.word_head, self.hints])
        self.trained.register_parameter("query_tokens", model.query_tokens)
        self.trained.register_parameter("log_temperature", self.log_temperature)
        self._model, self._vocabulary, self._dtype, self._seed = model, vocabulary, dtype, seed

    def losses(self, batch: CaptionedPictures, step: int) -> dict[str, Tensor]:
        """ITC, ITM and ITG, in equal parts as in the paper, and the hints that the pairs have."""
        device = self.log_temperature.device
        with torch.no_grad():
            tokens = see(self._model.vision_model, batch.pixels.to(device), self._dtype)
        rows = torch.tensor(batch.rows, device=device)
        truth = batch.truth.to(device)
        captions = self._sequences(batch.captions)
        asked = ask(self._model, tokens)
        similarities = self._similarities(asked[-1], captions)
        return {
            "itc": pair_contrast(similarities / self.log_temperature.exp().clamp(0.01, 0.5), rows, truth),
            "itg": self._tell(asked, captions, rows),
            **self._match(batch, captions, tokens, rows, truth, similarities.detach(), step),
        }

    def _similarities(self, asked: Tensor, captions: Sequence[list[int]]) -> Tensor:
        """`[n, m]`: the greatest cosine over a picture's queries."""
        images = functional.normalize(self._model.vision_projection(asked.float()), dim=-1)
        parts, order = [], []
        for some, ids, mask in self._batched(captions):
            parts.append(read(self._model, ids, mask, self._dtype)[:, 0].float())
            order.append(some)
        states = torch.cat(parts)[torch.cat(order).argsort()]
        texts = functional.normalize(self._model.text_projection(states), dim=-1)
        return greatest_cosines(images, texts)

    def _match(
        self,
        batch: CaptionedPictures,
        captions: Sequence[list[int]],
        tokens: Tensor,
        rows: Tensor,
        truth: Tensor,
        similarities: Tensor,
        step: int,
    ) -> dict[str, Tensor]:
        """ITM on the pairs of the batch, a hard text for every other picture, a hard picture for the rest's texts."""
        generator = torch.Generator().manual_seed(1_000_003 * self._seed + step)
        pictures = hard_negatives(similarities.T, truth.T, HARDNESS, generator)
        texts = hard_negatives(similarities, truth, HARDNESS, generator)
        choosing = torch.arange(len(tokens), device=rows.device)[::2]
        chosen = torch.arange(len(rows), device=rows.device)[rows % 2 == 1]
        pairs = batch.pairs
        asked = [
            *self._sequences(pairs.texts),
            *(captions[at] for at in texts[choosing].tolist()),
            *(captions[at] for at in chosen.tolist()),
        ]
        shown = torch.cat([torch.tensor(pairs.rows, device=rows.device), choosing, pictures[chosen]])
        # A batch in which everything is true has no negative: what was drawn then is labelled as what it is.
        matches = torch.tensor(pairs.matches, device=rows.device)
        labels = torch.cat([matches, truth[choosing, texts[choosing]], truth[pictures[chosen], chosen]]).long()
        logits, wanted, hinted = [], [], Hints(self.hints, pairs.hints)
        for some, ids, mask in self._batched(asked):
            queries, read_texts = compare(self._model, tokens, shown[some], ids, mask)
            logits.append(self._model.itm_head(queries.float()).mean(dim=1))
            wanted.append(labels[some])
            for states in read_texts[-HINTED:]:
                hinted.add(states, some)
        return {"itm": matching_loss(torch.cat(logits), torch.cat(wanted)), **hinted.losses()}

    def _tell(self, asked: Sequence[Tensor], captions: Sequence[list[int]], rows: Tensor) -> Tensor:
        """The loss of every word and of the end, behind [DEC], of each picture's first caption."""
        first = [rows.tolist().index(row) for row in range(len(asked[0]))]
        words = self._model.embeddings.word_embeddings.weight
        logits, wanted = [], []
        for some, ids, mask in self._batched([[self._vocabulary.dec, *captions[at][1:]] for at in first]):
            states = tell(self._model, [states[some] for states in asked], ids)
            counted = mask[:, 1:].bool()
            logits.append(self.word_head(states[:, :-1][counted].float(), words))
            wanted.append(ids[:, 1:][counted])
        return functional.cross_entropy(torch.cat(logits), torch.cat(wanted))

    def _sequences(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as the match model of users reads them; no longer than it has positions."""
        length = self._model.config.qformer_config.max_position_embeddings
        first = self._vocabulary.cls
        return [self._vocabulary.sequence(pre_caption(text), first=first, length=length) for text in texts]

    def _batched(self, sequences: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The numbers of sequences of about one length, their ids and their mask."""
        device = self.log_temperature.device
        for some in by_length(sequences):
            ids, mask = padded([sequences[row] for row in some], pad=self._vocabulary.pad, device=str(device))
            yield torch.tensor(some, device=device), ids, mask


def greatest_cosines(images: Tensor, texts: Tensor) -> Tensor:
    """ITC similarities `[n, m]` of pictures `[n, v, d]` and texts `[m, d]`: the maximum over the v queries."""
    return torch.einsum("nvd,md->nmv", images, texts).amax(dim=2)


def _without_tower(model: Any) -> nn.ModuleList:
    return nn.ModuleList(
        [model.embeddings, model.qformer, model.vision_projection, model.text_projection, model.itm_head]
    )
