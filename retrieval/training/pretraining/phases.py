"""The phases of training: see (what lies where), match (ITC and ITM), caption, and vqa. A phase knows its losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.training.losses import (
    IGNORED,
    contrastive_loss,
    hard_negatives,
    matching_loss,
    next_word_loss,
    word_loss,
)
from retrieval.training.pretraining.batches import (
    ABSENT,
    CELLS,
    PATCH_KINDS,
    PICTURE_KINDS,
    AnswerBatch,
    CaptionBatch,
    MatchBatch,
    Pictures,
    Texts,
)
from retrieval.training.pretraining.forward import read, see

HARDNESS = 0.1  # temperature at which negatives are drawn by similarity
NOTHING_WEIGHT = 0.3  # most patches show no thing


class Sight(nn.Module):
    """Heads on the vision tower, thrown away: what a patch shows, which patch it is, and what the picture shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.ModuleDict({kind: nn.Linear(width, count) for kind, count in PATCH_KINDS.items()})
        self.pictures = nn.ModuleDict({kind: nn.Linear(width, count) for kind, count in PICTURE_KINDS.items()})
        self.position = nn.Linear(width, CELLS)

    def loss(self, tokens: Tensor, pictures: Pictures) -> dict[str, Tensor]:
        """The losses of a picture's tokens `[n, 1 + patches, width]`."""
        named = {kind: self._patch_loss(kind, tokens[:, 1:], pictures) for kind in PATCH_KINDS}
        air = [
            functional.cross_entropy(head(tokens[:, 0]).float(), pictures.whole[kind])
            for kind, head in self.pictures.items()
        ]
        numbers = torch.arange(CELLS, device=tokens.device).repeat(len(tokens))
        position = functional.cross_entropy(self.position(tokens[:, 1:]).float().flatten(0, 1), numbers)
        return {**named, "air": torch.stack(air).sum(), "position": position}

    def _patch_loss(self, kind: str, tokens: Tensor, pictures: Pictures) -> Tensor:
        labels = pictures.patches[kind]
        if kind not in ("noun", "touch"):
            labels = labels.masked_fill(pictures.patches["noun"] == 0, IGNORED)
        logits = self.patches[kind](tokens).float().flatten(0, 1)
        weights = torch.ones(logits.shape[1], device=logits.device)
        weights[0] = NOTHING_WEIGHT
        return functional.cross_entropy(logits, labels.flatten(), weight=weights, ignore_index=IGNORED)


LIKE = ("tint", "count", "size", "facing", "word")


class Reading(nn.Module):
    """Heads on the text layers, thrown away.

    They say which words are wrong, in which patch what a word names is seen, and what it is like there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wrong = nn.Linear(width, 2)
        self.where = nn.Linear(width, ABSENT + 1)
        self.subject = nn.Linear(width, ABSENT + 1)
        self.object = nn.Linear(width, ABSENT + 1)
        self.like = nn.ModuleDict({kind: nn.Linear(width, PATCH_KINDS[kind]) for kind in LIKE})


class SeePhase:
    """The vision tower alone learns what lies under its patches."""

    def __init__(self, model: Any, sight: Sight, dtype: torch.dtype) -> None:
        self.trained: nn.Module = nn.ModuleList([model.vision_model, sight])
        self._model, self._sight, self._dtype = model, sight, dtype

    def losses(self, batch: Pictures, step: int) -> dict[str, Tensor]:
        """What lies under the patches."""
        batch = batch.to(self._model.device)
        tokens = see(self._model.vision_model, batch.normalised(), self._dtype)
        return self._sight.loss(tokens.float(), batch)


class MatchPhase:
    """ITC and ITM; ITM also learns which words are wrong, and where what they name is seen."""

    def __init__(
        self, model: Any, sight: Sight, dtype: torch.dtype, *, enc: int, seed: int, matching_from: int
    ) -> None:
        self.reading = Reading(model.config.text_config.hidden_size)
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())
        self.trained: nn.Module = nn.ModuleList([model, sight, self.reading])
        self.trained.register_parameter("log_temperature", self.log_temperature)
        self._model, self._sight, self._dtype, self._enc = model, sight, dtype, enc
        self._seed, self._matching_from = seed, matching_from

    def losses(self, batch: MatchBatch, step: int) -> dict[str, Tensor]:
        """Sight and ITC; from `matching_from` on ITM, wrong words and places."""
        batch = batch.to(self._model.device)
        tokens = see(self._model.vision_model, batch.pictures.normalised(), self._dtype)
        images = functional.normalize(self._model.vision_proj(tokens[:, 0].float()), dim=-1)
        states = read(self._model.text_encoder, batch.own.ids, batch.own.mask, None, self._dtype)[-1]
        texts = functional.normalize(self._model.text_proj(states[:, 0].float()), dim=-1)
        temperature = self.log_temperature.exp().clamp(0.01, 0.5)
        sight = self._sight.loss(tokens.float(), batch.pictures)
        losses = {
            "sight": torch.stack(list(sight.values())).sum(),
            "itc": contrastive_loss(images, texts, batch.truth, temperature),
        }
        if step >= self._matching_from:
            losses |= self._match(batch, tokens, (images @ texts.T).detach(), step)
        return losses

    def _match(self, batch: MatchBatch, tokens: Tensor, similarities: Tensor, step: int) -> dict[str, Tensor]:
        n = len(tokens)
        generator = torch.Generator().manual_seed(hash((self._seed, step)))
        pictures = hard_negatives(similarities.T, batch.truth.T, HARDNESS, generator)[: n // 2]
        texts = hard_negatives(similarities, batch.truth, HARDNESS, generator)[n // 2 :]
        every = torch.arange(n, device=tokens.device)
        asked = _joined(batch.more, _first(_rows(batch.own, torch.cat([every[: n // 2], texts])), self._enc))
        rows = torch.cat([batch.rows, pictures, every[n // 2 :]])
        matches = torch.cat([batch.matches, torch.zeros(n, dtype=torch.bool, device=tokens.device)])
        hidden = [
            states.float()
            for states in read(self._model.text_encoder, asked.ids, asked.mask, tokens[rows], self._dtype)
        ]
        wrong = _widened(batch.wrong, hidden[-1].shape)
        return {
            "itm": matching_loss(self._model.itm_head(hidden[-1][:, 0]), matches.long()),
            "wrong": sum_of(word_loss(self.reading.wrong(states[: len(wrong)]), wrong) for states in hidden[-2:]),
            **where_losses(self.reading, hidden, asked, batch.where[rows]),
            "like": like_loss(self.reading, hidden[2], asked, batch.where[rows], batch.pictures, rows),
        }


class CaptionPhase:
    """The fullest caption after the prompt; the vision tower stays as it is."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.trained: nn.Module = model.text_decoder
        self._model, self._dtype = model, dtype

    def losses(self, batch: CaptionBatch, step: int) -> dict[str, Tensor]:
        """The loss of every word after the prompt."""
        batch = batch.to(self._model.device)
        with torch.no_grad():
            tokens = see(self._model.vision_model, batch.pictures.normalised(), self._dtype)
        decoder = self._model.text_decoder
        states = read(decoder.bert, batch.ids, batch.mask, tokens, self._dtype, causal=True)[-1]
        logits = decoder.cls(states.float())
        return {"caption": next_word_loss(logits, batch.ids, batch.counted)}


class AnswerPhase:
    """Questions with their answers, a few per picture; the vision tower stays as it is."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.reading = Reading(model.config.text_config.hidden_size)
        self.trained: nn.Module = nn.ModuleList([model.text_encoder, model.text_decoder, self.reading])
        self._model, self._dtype = model, dtype

    def losses(self, batch: AnswerBatch, step: int) -> dict[str, Tensor]:
        """The loss of every word of an answer and its end, and where the nouns of the question are seen."""
        batch = batch.to(self._model.device)
        with torch.no_grad():
            tokens = see(self._model.vision_model, batch.pictures.normalised(), self._dtype)
        asked, decoder = batch.questions, self._model.text_decoder
        hidden = read(self._model.text_encoder, asked.ids, asked.mask, tokens[batch.rows], self._dtype)
        states = read(
            decoder.bert,
            batch.answers,
            batch.answers_mask,
            hidden[-1],
            self._dtype,
            tokens_mask=asked.mask,
            causal=True,
        )[-1]
        logits = decoder.cls(states.float())
        seen, where = hidden[2].float(), batch.where[batch.rows]
        return {
            "vqa": next_word_loss(logits, batch.answers, batch.answers_mask.bool()),
            "where": place_loss(self.reading.where(seen), where.gather(1, asked.nouns)),
            "like": like_loss(self.reading, seen, asked, where, batch.pictures, batch.rows),
        }


def where_losses(heads: Reading, hidden: Sequence[Tensor], texts: Texts, where: Tensor) -> dict[str, Tensor]:
    """Where nouns are seen, after two layers; and where what a relation relates is seen, after three."""
    subjects, objects = where.gather(1, texts.subjects), where.gather(1, texts.objects)
    return {
        "where": place_loss(heads.where(hidden[2]), where.gather(1, texts.nouns)),
        "related": place_loss(heads.subject(hidden[-2]), subjects) + place_loss(heads.object(hidden[-2]), objects),
    }


def like_loss(heads: Reading, states: Tensor, texts: Texts, where: Tensor, pictures: Pictures, rows: Tensor) -> Tensor:
    """What the things that nouns name are like, in the pictures `rows [m]` of the texts, at the nouns' tokens."""
    cells = where.gather(1, texts.nouns)
    there = (cells >= 0) & (cells < CELLS)
    pictured, cell = rows[:, None].expand_as(cells)[there], cells[there]
    losses = []
    for kind in LIKE:
        labels = pictures.patches[kind][pictured, cell]
        losses.append(place_loss(heads.like[kind](states[there]), labels.masked_fill(labels == 0, IGNORED)))
    return sum_of(losses)


def place_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Labels of tokens: logits `[..., kinds]`, labels `[...]`, IGNORED where nothing is asked."""
    total = functional.cross_entropy(
        logits.float().flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def sum_of(losses: Any) -> Tensor:
    """The sum of losses."""
    return torch.stack(list(losses)).sum()


def _rows(texts: Texts, rows: Tensor) -> Texts:
    return _each(lambda tensor: tensor[rows], texts)


def _first(texts: Texts, token: int) -> Texts:
    ids = texts.ids.clone()
    ids[:, 0] = token
    return Texts(ids, texts.mask, texts.nouns, texts.subjects, texts.objects)


def _joined(one: Texts, other: Texts) -> Texts:
    longest = max(one.ids.shape[1], other.ids.shape[1])
    wide = [_each(lambda t: functional.pad(t, (0, longest - t.shape[1])), texts) for texts in (one, other)]
    return Texts(
        *(
            torch.cat([getattr(texts, name) for texts in wide])
            for name in ("ids", "mask", "nouns", "subjects", "objects")
        )
    )


def _each(change: Callable[[Tensor], Tensor], texts: Texts) -> Texts:
    return Texts(
        change(texts.ids), change(texts.mask), change(texts.nouns), change(texts.subjects), change(texts.objects)
    )


def _widened(labels: Tensor, shape: Sequence[int]) -> Tensor:
    return functional.pad(labels, (0, shape[1] - labels.shape[1]), value=IGNORED)
