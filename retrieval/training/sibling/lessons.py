"""Lessons in the world of postcards; scenes that are held out for tests are never shown."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrieval.models.blip2 import CAPTION_PROMPT, QUESTION_PROMPT
from retrieval.models.preprocess import pre_question
from retrieval.training.postcards import CaptionedPostcards, labels_in
from retrieval.training.pretraining.batches import ABSENT, PATCH_KINDS, look, twin_scenes, where
from retrieval.training.pretraining.phases import LIKE
from retrieval.training.sibling.batches import Telling, ToldPictures
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import claim_text
from retrieval.training.world.questions import questions
from retrieval.training.world.scenes import Scene, in_reading_order


@dataclass(frozen=True)
class Postcards(CaptionedPostcards):
    """Draws batches of stage two, too: `told` so many pictures, and `alone` so many scenes for the language model.

    A picture is told about in its fullest caption and in `asked` questions with their answers.
    """

    alone: int = 64
    told_pictures: int = 48
    asked: int = 4

    @property
    def told_hints(self) -> Mapping[str, int]:
        """Where what a word names is seen, and what it is like there."""
        return {"where": ABSENT + 1, **{kind: PATCH_KINDS[kind] for kind in LIKE}}

    def texts(self, step: int) -> Sequence[Telling]:
        """Captions, questions and answers of scenes that nobody draws."""
        rng = self.drawing("texts", step)
        return [text for scene in twin_scenes(rng, self.alone) for text in self._tellings(scene, rng)]

    def told(self, step: int) -> ToldPictures:
        """Pictures with their captions, questions and answers."""
        rng = self.drawing("told", step)
        scenes = twin_scenes(rng, self.told_pictures)
        texts = [self._tellings(scene, rng) for scene in scenes]
        rows = [row for row, some in enumerate(texts) for _ in some]
        told = [text for some in texts for text in some]
        pictures = look(scenes, self.resolution)
        cells = where(scenes)[rows].gather(1, self._nouns(told))
        hints = {"where": cells, **{kind: labels_in(pictures.patches[kind][rows], cells) for kind in LIKE}}
        return ToldPictures(pictures.normalised(), told, rows, hints)

    def _nouns(self, texts: Sequence[Telling]) -> Tensor:
        """The numbers of the nouns at the tokens of texts, the first token before them: `int64 [texts, t]`, else 0."""
        spelled = [f"{text.prompt} {text.reply}".lower().replace(":", " :") for text in texts]
        longest = 1 + max(self.reader.length(text) for text in spelled)
        nouns = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(spelled):
            self.reader.mark_nouns(nouns[row], text)
        return nouns

    def _tellings(self, scene: Scene, rng: random.Random) -> list[Telling]:
        asked = questions(scene, rng)[: self.asked]
        return [
            Telling(CAPTION_PROMPT, claim_text(fullest_claim(in_reading_order(scene)))),
            *(Telling(QUESTION_PROMPT.format(pre_question(one.text)), one.answer) for one in asked),
        ]
