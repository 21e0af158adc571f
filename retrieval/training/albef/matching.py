"""What ALBEF minimises here: ITC before the fusion, ITM behind it (Li et al., arXiv 2107.07651, section 3.2).

Left out are the paper's masked words, and its momentum distillation, for these pairs are not noisy. Heads that are
thrown away ask the words of a text, once they have looked at a picture: what they are asked is for the lessons to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.models.network import padded
from retrieval.training.albef.forward import fuse, read
from retrieval.training.albef.models import Albef, without_tower
from retrieval.training.captioned import CaptionedPictures, by_length
from retrieval.training.hints import Hints, hint_heads
from retrieval.training.losses import IGNORED, hard_negatives, matching_loss, pair_contrast
from retrieval.training.pretraining.forward import see

HARDNESS = 0.1  # temperature at which negatives are drawn by similarity
AT_ONCE = 96  # texts of about one length that go through the layers together
WRONG = 20.0  # nine words of ten are right: unweighted, the gradient of this hint drowns in those of the others
HINTED = 2  # fusion layers whose texts are asked what the hints ask: the last but one and those before it


@dataclass(frozen=True)
class Read:
    """Texts that were read without a picture, those that read alike once.

    Text k is number `numbers[k]` of the ids and of the states `[d, s, width]`, which are padded on the right.
    """

    numbers: Tensor
    ids: Sequence[list[int]]
    states: Tensor


@dataclass(frozen=True)
class Paired:
    """Texts and pictures by their numbers, `[k]` each, and whether they are known to match."""

    texts: Tensor
    rows: Tensor
    matches: Tensor


class MatchingStretch:
    """Trains both halves of the text encoder, the heads and the temperature; the vision tower stays as it is.

    The layers compute in `dtype`, the heads and losses in float32.
    """

    def __init__(self, albef: Albef, dtype: torch.dtype, *, hints: Mapping[str, int], seed: int) -> None:
        self._network, self._reader, self._dtype, self._seed = albef.network, albef.reader, dtype, seed
        self.hints = hint_heads(albef.network.config.text_config.hidden_size, hints)
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())
        self.trained: nn.Module = nn.ModuleList([without_tower(albef.network), self.hints])
        self.trained.register_parameter("log_temperature", self.log_temperature)

    def losses(self, batch: CaptionedPictures, step: int) -> dict[str, Tensor]:
        """ITC and ITM in equal parts, as in the paper, and what the hints of the pairs ask."""
        device = self.log_temperature.device
        with torch.no_grad():
            tokens = see(self._network.vision_model, batch.pixels.to(device), self._dtype)
        texts = self._read([*batch.captions, *batch.pairs.texts])
        captions, asked = texts.numbers[: len(batch.captions)], texts.numbers[len(batch.captions) :]
        # ALBEF reads 30 words: what is false in those behind them alone reads as what is true, and is as true.
        truth = batch.truth.to(device).float() @ functional.one_hot(captions, len(texts.ids)).float() > 0
        rows = torch.tensor(batch.rows, device=device)
        similarities = self._similarities(tokens, texts.states[captions, 0])
        logits = similarities / self.log_temperature.exp().clamp(0.01, 0.5)
        negatives, shown = self._negatives(similarities.detach(), rows, truth[:, captions], step)
        paired = Paired(
            torch.cat([asked, captions[negatives]]),
            torch.cat([torch.tensor(batch.pairs.rows, device=device), shown]),
            torch.tensor([*batch.pairs.matches, *[False] * len(shown)], device=device),
        )
        return {
            "itc": pair_contrast(logits, rows, truth[:, captions]),
            **self._match(paired, texts, tokens, truth, batch.pairs.hints),
        }

    def _read(self, texts: Sequence[str]) -> Read:
        """Read every text as the reader of users cuts and spells it; those of about one length go together."""
        sequences = [tuple(self._reader.encoder_ids(text)) for text in texts]
        numbers = {ids: number for number, ids in enumerate(dict.fromkeys(sequences))}
        distinct = [list(ids) for ids in numbers]
        longest = max(map(len, distinct))
        parts, order = [], []
        for some, ids, mask in self._batched(distinct):
            states = read(self._network, ids, mask, self._dtype)
            parts.append(functional.pad(states, (0, 0, 0, longest - ids.shape[1])))
            order.append(some)
        states = torch.cat(parts)[torch.cat(order).argsort()]
        return Read(torch.tensor([numbers[ids] for ids in sequences], device=states.device), distinct, states)

    def _similarities(self, tokens: Tensor, first: Tensor) -> Tensor:
        """`[n, m]`: the cosine of a picture's class token and a text's position 0 `[m, width]`, both projected."""
        images = functional.normalize(self._network.vision_proj(tokens[:, 0].float()), dim=-1)
        return images @ functional.normalize(self._network.text_proj(first.float()), dim=-1).T

    def _negatives(self, similarities: Tensor, rows: Tensor, truth: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Captions and pictures, `[k]` each: a hard text for every other picture, a hard picture for the rest's texts.

        A batch in which everything is true has no negative: what is drawn then is labelled as what it is.
        """
        generator = torch.Generator().manual_seed(1_000_003 * self._seed + step)
        pictures = hard_negatives(similarities.T, truth.T, HARDNESS, generator)
        texts = hard_negatives(similarities, truth, HARDNESS, generator)
        choosing = torch.arange(len(similarities), device=rows.device)[::2]
        chosen = torch.arange(len(rows), device=rows.device)[rows % 2 == 1]
        return torch.cat([texts[choosing], chosen]), torch.cat([choosing, pictures[chosen]])

    def _match(
        self, pairs: Paired, texts: Read, tokens: Tensor, truth: Tensor, hints: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """ITM, and the hints that the first of the pairs have; `truth [n, d]` says what is true of a picture."""
        labels = (pairs.matches | truth[pairs.rows, pairs.texts]).long()
        sequences = [texts.ids[number] for number in pairs.texts.tolist()]
        logits, wanted, hinted = [], [], Hints(self.hints, _within(hints, sequences))
        for some, ids, mask in self._batched(sequences):
            states = texts.states[pairs.texts[some], : ids.shape[1]]
            *between, last = fuse(self._network, states, mask, tokens, pairs.rows[some])
            logits.append(self._network.itm_head(last[:, 0].float()))
            wanted.append(labels[some])
            for looking in between[-HINTED:]:
                hinted.add(looking, some)
        losses = {"itm": matching_loss(torch.cat(logits), torch.cat(wanted)), **hinted.losses()}
        return {kind: WRONG * loss if kind == "wrong" else loss for kind, loss in losses.items()}

    def _batched(self, sequences: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The numbers of sequences of about one length, their ids and their mask."""
        device = self.log_temperature.device
        for some in by_length(sequences, AT_ONCE):
            ids, mask = padded([sequences[row] for row in some], pad=self._reader.vocabulary.pad, device=str(device))
            yield torch.tensor(some, device=device), ids, mask


def _within(hints: Mapping[str, Tensor], sequences: Sequence[list[int]]) -> dict[str, Tensor]:
    """Hints without those of words behind the end of what is read."""
    lengths = torch.tensor([len(ids) for ids in sequences])
    return {
        kind: labels.masked_fill(torch.arange(labels.shape[1]) >= lengths[: len(labels), None], IGNORED)
        for kind, labels in hints.items()
    }
