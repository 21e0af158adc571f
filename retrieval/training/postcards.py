"""Captions in the world of postcards; scenes that are held out for tests are never shown."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from retrieval.training.captioned import CaptionedPictures, Pairs
from retrieval.training.losses import IGNORED
from retrieval.training.pretraining.batches import (
    ABSENT,
    CELLS,
    PATCH_KINDS,
    STRANGE,
    Batches,
    Pictures,
    look,
    truths,
    twin_flags,
    twin_scenes,
    where,
)
from retrieval.training.pretraining.phases import LIKE
from retrieval.training.quality import with_unknown_noun
from retrieval.training.world.captions import corrupt, fullest_claim, some_claim
from retrieval.training.world.claims import Claim, claim_text, heads, holds, wrong_words
from retrieval.training.world.scenes import Scene
from retrieval.training.world.vocabulary import Words, vocabulary, words


@dataclass(frozen=True)
class CaptionedPostcards:
    """Draws batches of so many captioned pictures; half of them are twins of the other half."""

    seed: int = 1
    captioned_pictures: int = 48
    resolution: int = 144

    @property
    def hints(self) -> Mapping[str, int]:
        """Whether a word is wrong; where what it names is seen, or what a relation relates; what it is like there."""
        places = ABSENT + 1
        return {
            "wrong": 2,
            "where": places,
            "subject": places,
            "object": places,
            **{kind: PATCH_KINDS[kind] for kind in LIKE},
        }

    def captioned(self, step: int) -> CaptionedPictures:
        """Of every picture the fullest caption and another; pairs: one of them, the same made wrong, the twin's."""
        rng = self.drawing("captioned", step)
        scenes = twin_scenes(rng, self.captioned_pictures)
        full = [fullest_claim(scene) for scene in scenes]
        some = [some_claim(scene, rng) for scene in scenes]
        pictures = look(scenes, self.resolution)
        every = list(range(len(scenes)))
        return CaptionedPictures(
            pictures.normalised(),
            [claim_text(claim) for claim in (*full, *some)],
            [*every, *every],
            truths([*full, *some], scenes),
            self._pairs(scenes, full, some, pictures, rng),
        )

    def _pairs(
        self,
        scenes: Sequence[Scene],
        full: Sequence[Claim],
        some: Sequence[Claim],
        pictures: Pictures,
        rng: random.Random,
    ) -> Pairs:
        own = [one if rng.random() < 0.5 else other for one, other in zip(full, some, strict=True)]
        false = [corrupt(claim, scene, rng) for claim, scene in zip(own, scenes, strict=True)]
        other = [full[at ^ 1] for at in range(len(scenes))]  # the twin's caption
        claims = [*own, *false, *other]
        rows = [*range(len(scenes))] * 3
        matches = [holds(claim, scenes[row]) for claim, row in zip(claims, rows, strict=True)]
        flags = [
            *([False] * len(heads(claim)) for claim in own),
            *(wrong_words(claim, right) for claim, right in zip(false, own, strict=True)),
            *(twin_flags(claim, full[at]) for at, claim in enumerate(other)),
        ]
        hints = self.labels(claims, [scenes[row] for row in rows], flags, _of_rows(pictures.patches, rows))
        written = [claim_text(claim) for claim in claims]
        for row in range(len(own), len(own) + len(false)):
            if rng.random() < STRANGE:
                # What a caption says in a word that nobody knows cannot be believed.
                written[row] = with_unknown_noun(own[row - len(own)], rng)
                matches[row] = False
                for labels in hints.values():
                    labels[row] = IGNORED
        return Pairs(written, rows, matches, hints)

    def labels(
        self,
        claims: Sequence[Claim],
        scenes: Sequence[Scene],
        flags: Sequence[Sequence[bool]],
        patches: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """The answers to the hints: claim k stands beside scene k, its words are wrong where `flags[k]`.

        `patches[kind] [m, 9]` say what lies under the patches of the scenes.
        """
        texts = self.reader.texts(claims, first="[CLS]")
        cells = where(scenes)
        seen = cells.gather(1, texts.nouns)
        return {
            "wrong": self.reader.spread(claims, flags, texts.ids.shape[1]),
            "where": seen,
            "subject": cells.gather(1, texts.subjects),
            "object": cells.gather(1, texts.objects),
            **{kind: labels_in(patches[kind], seen) for kind in LIKE},
        }

    @cached_property
    def reader(self) -> Batches:
        """Who spells claims and finds the nouns in texts."""
        tokens = Words(vocabulary(words()), torch.device("cpu"))
        return Batches("match", tokens, seed=self.seed, size=self.captioned_pictures, resolution=self.resolution)

    def drawing(self, kind: str, step: int) -> random.Random:
        """What draws a step of a kind; its name is part of the seed of models that are shipped."""
        return random.Random(f"{self.seed} sibling {kind} {step}")


def _of_rows(patches: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    return {kind: labels[rows] for kind, labels in patches.items()}


def labels_in(patches: Tensor, cells: Tensor) -> Tensor:
    """The labels of `patches [m, 9]` in `cells [m, t]`; IGNORED where there is no cell, and where 0 is nothing."""
    there = (cells >= 0) & (cells < CELLS)
    labels = patches.gather(1, cells.where(there, torch.zeros_like(cells)))
    return labels.where(there & (labels > 0), torch.full_like(cells, IGNORED))
