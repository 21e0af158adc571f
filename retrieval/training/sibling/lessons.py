"""Lessons in the world of postcards; scenes that are held out for tests are never shown."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from retrieval.models.blip2 import CAPTION_PROMPT, QUESTION_PROMPT
from retrieval.models.preprocess import pre_question
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
from retrieval.training.sibling.batches import CaptionedPictures, Pairs, Telling, ToldPictures
from retrieval.training.world.captions import corrupt, fullest_claim, some_claim
from retrieval.training.world.claims import Claim, claim_text, heads, holds, wrong_words
from retrieval.training.world.questions import questions
from retrieval.training.world.scenes import Scene, in_reading_order
from retrieval.training.world.vocabulary import Words, vocabulary, words


@dataclass(frozen=True)
class Postcards:
    """Draws batches: `captioned` and `told` so many pictures, `alone` so many scenes for the language model.

    Half of the pictures are twins of the other half. A picture is told about in its fullest caption and in `asked`
    questions with their answers.
    """

    seed: int = 1
    captioned_pictures: int = 48
    alone: int = 64
    told_pictures: int = 48
    asked: int = 4
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

    @property
    def told_hints(self) -> Mapping[str, int]:
        """Where what a word names is seen, and what it is like there."""
        return {"where": ABSENT + 1, **{kind: PATCH_KINDS[kind] for kind in LIKE}}

    def captioned(self, step: int) -> CaptionedPictures:
        """Of every picture the fullest caption and another; pairs: one of them, the same made wrong, the twin's."""
        rng = self._rng("captioned", step)
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
        texts = self._reader.texts(claims, first="[CLS]")
        cells = where(scenes)[rows]
        at = {name: cells.gather(1, getattr(texts, name)) for name in ("nouns", "subjects", "objects")}
        hints = {
            "wrong": self._reader.spread(claims, flags, texts.ids.shape[1]),
            "where": at["nouns"],
            "subject": at["subjects"],
            "object": at["objects"],
            **{kind: _like(pictures.patches[kind][rows], at["nouns"]) for kind in LIKE},
        }
        written = [claim_text(claim) for claim in claims]
        for row in range(len(own), len(own) + len(false)):
            if rng.random() < STRANGE:
                # What a caption says in a word that nobody knows cannot be believed.
                written[row] = with_unknown_noun(own[row - len(own)], rng)
                matches[row] = False
                for labels in hints.values():
                    labels[row] = IGNORED
        return Pairs(written, rows, matches, hints)

    def texts(self, step: int) -> Sequence[Telling]:
        """Captions, questions and answers of scenes that nobody draws."""
        rng = self._rng("texts", step)
        return [text for scene in twin_scenes(rng, self.alone) for text in self._tellings(scene, rng)]

    def told(self, step: int) -> ToldPictures:
        """Pictures with their captions, questions and answers."""
        rng = self._rng("told", step)
        scenes = twin_scenes(rng, self.told_pictures)
        texts = [self._tellings(scene, rng) for scene in scenes]
        rows = [row for row, some in enumerate(texts) for _ in some]
        told = [text for some in texts for text in some]
        pictures = look(scenes, self.resolution)
        cells = where(scenes)[rows].gather(1, self._nouns(told))
        hints = {"where": cells, **{kind: _like(pictures.patches[kind][rows], cells) for kind in LIKE}}
        return ToldPictures(pictures.normalised(), told, rows, hints)

    def _nouns(self, texts: Sequence[Telling]) -> Tensor:
        """The numbers of the nouns at the tokens of texts, the first token before them: `int64 [texts, t]`, else 0."""
        spelled = [f"{text.prompt} {text.reply}".lower().replace(":", " :") for text in texts]
        longest = 1 + max(self._reader.length(text) for text in spelled)
        nouns = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(spelled):
            self._reader.mark_nouns(nouns[row], text)
        return nouns

    def _tellings(self, scene: Scene, rng: random.Random) -> list[Telling]:
        asked = questions(scene, rng)[: self.asked]
        return [
            Telling(CAPTION_PROMPT, claim_text(fullest_claim(in_reading_order(scene)))),
            *(Telling(QUESTION_PROMPT.format(pre_question(one.text)), one.answer) for one in asked),
        ]

    @cached_property
    def _reader(self) -> Batches:
        tokens = Words(vocabulary(words()), torch.device("cpu"))
        return Batches("match", tokens, seed=self.seed, size=self.captioned_pictures, resolution=self.resolution)

    def _rng(self, kind: str, step: int) -> random.Random:
        return random.Random(f"{self.seed} sibling {kind} {step}")


def _like(patches: Tensor, cells: Tensor) -> Tensor:
    """The labels of `patches [m, 9]` in `cells [m, t]`; IGNORED where there is no cell, and where 0 is nothing."""
    there = (cells >= 0) & (cells < CELLS)
    labels = patches.gather(1, cells.where(there, torch.zeros_like(cells)))
    return labels.where(there & (labels > 0), torch.full_like(cells, IGNORED))
