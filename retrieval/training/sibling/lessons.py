"""Lessons in the world of postcards; scenes that are held out for tests are never shown."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.models.blip2 import CAPTION_PROMPT, QUESTION_PROMPT
from retrieval.models.preprocess import pre_question
from retrieval.training.pretraining.batches import look, truths, twin_scenes
from retrieval.training.sibling.batches import CaptionedPictures, Telling, ToldPictures
from retrieval.training.world.captions import corrupt, fullest_claim, some_claim
from retrieval.training.world.claims import claim_text
from retrieval.training.world.questions import questions
from retrieval.training.world.scenes import Scene, in_reading_order


@dataclass(frozen=True)
class Postcards:
    """Draws batches: `captioned` and `told` so many pictures, `alone` so many scenes for the language model.

    Half of the pictures are twins of the other half. A picture is told about in its fullest caption and in `asked`
    questions with their answers.
    """

    seed: int = 1
    captioned_pictures: int = 64
    alone: int = 64
    told_pictures: int = 48
    asked: int = 4
    resolution: int = 144

    def captioned(self, step: int) -> CaptionedPictures:
        """One true caption of every picture, the fullest or another one, and the same wrong in a word or two."""
        rng = self._rng("captioned", step)
        scenes = twin_scenes(rng, self.captioned_pictures)
        claims = [fullest_claim(scene) if rng.random() < 0.5 else some_claim(scene, rng) for scene in scenes]
        false = [corrupt(claim, scene, rng) for claim, scene in zip(claims, scenes, strict=True)]
        every = range(len(scenes))
        return CaptionedPictures(
            look(scenes, self.resolution).normalised(),
            [claim_text(claim) for claim in claims],
            every,
            truths(claims, scenes),
            [claim_text(claim) for claim in false],
            every,
        )

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
        pixels = look(scenes, self.resolution).normalised()
        return ToldPictures(pixels, [text for some in texts for text in some], rows)

    def _tellings(self, scene: Scene, rng: random.Random) -> list[Telling]:
        asked = questions(scene, rng)[: self.asked]
        return [
            Telling(CAPTION_PROMPT, claim_text(fullest_claim(in_reading_order(scene)))),
            *(Telling(QUESTION_PROMPT.format(pre_question(one.text)), one.answer) for one in asked),
        ]

    def _rng(self, kind: str, step: int) -> random.Random:
        return random.Random(f"{self.seed} sibling {kind} {step}")
