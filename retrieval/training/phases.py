"""The three phases of training: match (ITC, then ITC and ITM), caption, and vqa. A phase knows the loss of a step.

A step's scenes and texts follow from seed, phase and step alone, so that a resumed run sees what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.training.batches import patch_labels, pixels_of, truths
from retrieval.training.blip import PROMPT
from retrieval.training.captions import corrupt, fullest_caption, some_claim, with_another_noun
from retrieval.training.claims import Claim, claim_text, parse, wrong_words
from retrieval.training.losses import (
    IGNORED,
    contrastive_loss,
    hard_negatives,
    matching_loss,
    next_word_loss,
    patch_loss,
    position_loss,
    word_loss,
)
from retrieval.training.nouns import NOUNS, TINTS
from retrieval.training.questions import questions
from retrieval.training.scenes import Scene, draw_scene, in_reading_order
from retrieval.training.vocabulary import Words, split

HARDNESS = 0.1  # temperature at which negatives are drawn by similarity


@dataclass(frozen=True)
class Losses:
    """What a step minimises, and its parts for the log."""

    total: Tensor
    parts: dict[str, float]


class Phase(Protocol):
    """One stretch of training with its own optimiser."""

    @property
    def name(self) -> str:
        """The name in the log and in checkpoints."""
        ...

    @property
    def trained(self) -> nn.Module:
        """Everything that the optimiser may change."""
        ...

    def losses(self, step: int) -> Losses:
        """The losses of a step."""
        ...


class Matching(nn.Module):
    """What the match phase trains: the model, the temperature, and heads that are thrown away.

    They say which words of a caption are wrong, which noun and which tint lie under a patch, and which patch it is.
    """

    def __init__(self, model: nn.Module, *, width: int, patches: int) -> None:
        super().__init__()
        self.model = model
        self.log_temperature = nn.Parameter(torch.tensor(0.07).log())
        self.word_head = nn.Linear(width, 2)
        self.noun_head = nn.Linear(width, len(NOUNS) + 1)
        self.tint_head = nn.Linear(width, len(TINTS) + 1)
        self.position_head = nn.Linear(width, patches)


@dataclass(frozen=True)
class _Contrast:
    """Captions of n pictures, their embeddings `[n, d]`, which is true of which `[n, n]`, and the ITC loss."""

    claims: Sequence[Claim]
    texts: Tensor
    truth: Tensor
    loss: Tensor


class MatchPhase:
    """ITC alone until `matching_from`, then ITC and ITM; ITM also learns from captions wrong in a word or two."""

    name = "match"

    def __init__(self, model: Any, words: Words, *, seed: int, batch: int, matching_from: int) -> None:
        vision = model.config.vision_config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trained = Matching(
                model, width=vision.hidden_size, patches=(vision.image_size // vision.patch_size) ** 2
            )
        self._model, self._words = model, words
        self._seed, self._batch, self._matching_from = seed, batch, matching_from

    def losses(self, step: int) -> Losses:
        """ITC on the fullest caption and on another one; later also ITM and wrong words on a mix of both."""
        rng = random.Random(f"{self._seed} {self.name} {step}")
        scenes = _scenes(rng, self._batch)
        tokens = _look(self._model, scenes)
        images = functional.normalize(self._model.vision_proj(tokens[:, 0]).float(), dim=-1)
        full = self._contrast(images, scenes, [parse(fullest_caption(scene)) for scene in scenes], rng)
        other = self._contrast(images, scenes, [some_claim(scene, rng) for scene in scenes], rng)
        losses = {"itc_full": full.loss, "itc_other": other.loss, "patches": self._patches(tokens[:, 1:], scenes)}
        if step >= self._matching_from:
            losses |= self._match(images, tokens, scenes, _mixed(full, other, rng), rng)
        parts = {name: loss.item() for name, loss in losses.items()}
        return Losses(torch.stack(list(losses.values())).sum(), parts)

    def _contrast(
        self, images: Tensor, scenes: Sequence[Scene], claims: Sequence[Claim], rng: random.Random
    ) -> _Contrast:
        """ITC of pictures with their captions; the captions with another noun are further negatives."""
        n = len(claims)
        twins = [with_another_noun(claim, scene, rng) for claim, scene in zip(claims, scenes, strict=True)]
        texts, truth = self._embed([*claims, *twins]), truths([*claims, *twins], scenes).to(images.device)
        temperature = self.trained.log_temperature.exp().clamp(0.01, 0.5)
        return _Contrast(claims, texts[:n], truth[:, :n], contrastive_loss(images, texts, truth, temperature))

    def _patches(self, tokens: Tensor, scenes: Sequence[Scene]) -> Tensor:
        grid = round(tokens.shape[1] ** 0.5)
        nouns, tints = (labels.to(tokens.device) for labels in patch_labels(scenes, grid))
        named = patch_loss(self.trained.noun_head(tokens), nouns) + patch_loss(self.trained.tint_head(tokens), tints)
        return named + position_loss(self.trained.position_head(tokens))

    def _embed(self, claims: Sequence[Claim]) -> Tensor:
        ids, mask = self._words.encode([claim_text(claim) for claim in claims])
        states = self._model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return functional.normalize(self._model.text_proj(states[:, 0]).float(), dim=-1)

    def _match(
        self, images: Tensor, tokens: Tensor, scenes: Sequence[Scene], said: _Contrast, rng: random.Random
    ) -> dict[str, Tensor]:
        """ITM and wrong words over n true pairs, n corrupted captions, and n hard pairs, half of each direction."""
        n, claims = len(scenes), said.claims
        corrupted = [corrupt(claim, scene, rng) for claim, scene in zip(claims, scenes, strict=True)]
        pictures_of_texts, texts_of_pictures = _hard_pairs(images, said, rng)
        texts = [*claims, *corrupted, *claims[: n // 2], *(claims[at] for at in texts_of_pictures.tolist())]
        every = torch.arange(n, device=tokens.device)
        rows = torch.cat([every, every, pictures_of_texts, every[n // 2 :]])
        ids, mask = self._words.encode([claim_text(claim) for claim in texts], first="[ENC]")
        states = self._model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens[rows]
        ).last_hidden_state
        matches = (torch.arange(len(texts), device=tokens.device) < n).long()
        labels = word_labels(claims, corrupted, ids.shape[1]).to(tokens.device)
        return {
            "itm": matching_loss(self._model.itm_head(states[:, 0]), matches),
            "words": word_loss(self.trained.word_head(states[: 2 * n]), labels),
        }


class CaptionPhase:
    """The fullest caption, in reading order, after the prompt; the vision tower stays as it is."""

    name = "caption"

    def __init__(self, model: Any, words: Words, *, seed: int, batch: int) -> None:
        self.trained: nn.Module = model.text_decoder
        self._model, self._words, self._seed, self._batch = model, words, seed, batch

    def losses(self, step: int) -> Losses:
        """The loss of every word after the prompt."""
        rng = random.Random(f"{self._seed} {self.name} {step}")
        scenes = _scenes(rng, self._batch)
        captions = [f"{PROMPT} {fullest_caption(in_reading_order(scene))}" for scene in scenes]
        ids, mask = self._words.encode(captions, first="[DEC]")
        with torch.no_grad():
            tokens = _look(self._model, scenes)
        logits = self._model.text_decoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens, use_cache=False
        ).logits
        counted = mask.bool() & (torch.arange(ids.shape[1], device=ids.device) > len(split(PROMPT)))
        loss = next_word_loss(logits, ids, counted)
        return Losses(loss, {"caption": loss.item()})


class AnswerPhase:
    """Questions with their answers, a few per picture; the vision tower stays as it is."""

    name = "vqa"

    def __init__(self, model: Any, words: Words, *, seed: int, batch: int, questions_each: int = 3) -> None:
        self.trained: nn.Module = nn.ModuleList([model.text_encoder, model.text_decoder])
        self._model, self._words = model, words
        self._seed, self._batch, self._each = seed, batch, questions_each

    def losses(self, step: int) -> Losses:
        """The loss of every word of an answer and its end."""
        rng = random.Random(f"{self._seed} {self.name} {step}")
        scenes = _scenes(rng, self._batch)
        asked = [(row, *pair) for row, scene in enumerate(scenes) for pair in questions(scene, rng)[: self._each]]
        rows = torch.tensor([row for row, _, _ in asked], device=self._words.device)
        ids, mask = self._words.encode([question for _, question, _ in asked], first="[ENC]")
        answers, answer_mask = self._words.encode([answer for _, _, answer in asked], first="[DEC]")
        with torch.no_grad():
            tokens = _look(self._model, scenes)
        states = self._model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens[rows]
        ).last_hidden_state
        logits = self._model.text_decoder(
            input_ids=answers,
            attention_mask=answer_mask,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).logits
        loss = next_word_loss(logits, answers, answer_mask.bool())
        return Losses(loss, {"vqa": loss.item()})


def word_labels(claims: Sequence[Claim], corrupted: Sequence[Claim], length: int) -> Tensor:
    """For the captions and then their corrupted twins: 1 for a wrong word, 0 for a right one, else IGNORED."""
    rows = [[False] * len(claim_text(claim).split()) for claim in claims]
    rows += [wrong_words(twin, claim) for twin, claim in zip(corrupted, claims, strict=True)]
    labels = torch.full((len(rows), length), IGNORED)
    for row, flags in enumerate(rows):
        labels[row, 1 : 1 + len(flags)] = torch.tensor(flags, dtype=torch.long)
    return labels


def _mixed(full: _Contrast, other: _Contrast, rng: random.Random) -> _Contrast:
    """For every picture one of two captions."""
    taken = [rng.random() < 0.5 for _ in full.claims]
    first = torch.tensor(taken, device=full.texts.device)
    return _Contrast(
        [a if take else b for a, b, take in zip(full.claims, other.claims, taken, strict=True)],
        torch.where(first[:, None], full.texts, other.texts),
        torch.where(first[None, :], full.truth, other.truth),
        full.loss + other.loss,
    )


def _hard_pairs(images: Tensor, said: _Contrast, rng: random.Random) -> tuple[Tensor, Tensor]:
    """False pictures for the first half of the texts, and false texts for the second half of the pictures."""
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    similarities, half = (images @ said.texts.T).detach(), len(images) // 2
    pictures = hard_negatives(similarities.T, said.truth.T, HARDNESS, generator)[:half]
    texts = hard_negatives(similarities, said.truth, HARDNESS, generator)[half:]
    return pictures, texts


def _scenes(rng: random.Random, count: int) -> list[Scene]:
    return [draw_scene(rng, held_out=False) for _ in range(count)]


def _look(model: Any, scenes: Sequence[Scene]) -> Tensor:
    """What the vision tower makes of scenes: `[n, patches + 1, width]`."""
    pixels = pixels_of(scenes, model.config.vision_config.image_size)
    tokens: Tensor = model.vision_model(pixels.to(model.device)).last_hidden_state
    return tokens
