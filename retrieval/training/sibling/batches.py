"""What the sibling learns from beside captioned pictures: pictures with texts to be said, and texts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from retrieval.training.captioned import CaptionLessons


@dataclass(frozen=True)
class Telling:
    """A text that the language model goes on from, and what it has to say then.

    `a photo of` and a caption, or `Question: ... Answer:` and an answer.
    """

    prompt: str
    reply: str


@dataclass(frozen=True)
class ToldPictures:
    """Stage two: n pictures `float32 [n, 3, R, R]`, normalised; text k is about picture `rows[k]`.

    `hints` are as those of pairs, for the first token, the prompt, the reply and the end.
    """

    pixels: Tensor
    texts: Sequence[Telling]
    rows: Sequence[int]
    hints: Mapping[str, Tensor] = field(default_factory=dict)


class Lessons(CaptionLessons, Protocol):
    """Who draws the batches, those of stage one as captioned pictures; every stretch counts its steps from 0."""

    @property
    def told_hints(self) -> Mapping[str, int]:
        """What tokens of what is told are asked about, and among how many answers."""
        ...

    def texts(self, step: int) -> Sequence[Telling]:
        """A batch for the language model on its own."""
        ...

    def told(self, step: int) -> ToldPictures:
        """A batch of stage two."""
        ...
