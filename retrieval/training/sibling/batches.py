"""What the sibling learns from: pictures with captions, pictures with texts to be said, and texts alone.

Whoever draws them gives the numbers of a step from a seed and the step alone, so that a resumed run sees what it
would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class CaptionedPictures:
    """Stage one: n pictures `float32 [n, 3, R, R]`, normalised, and m captions, one or more of each picture.

    Caption k is of picture `rows[k]`; `truth[i, j]`, `bool [n, m]`, says that caption j is true of picture i, which
    keeps it from being a negative. `false_captions[k]` is false of picture `false_rows[k]`, written to be nearly true;
    there may be none.
    """

    pixels: Tensor
    captions: Sequence[str]
    rows: Sequence[int]
    truth: Tensor
    false_captions: Sequence[str] = ()
    false_rows: Sequence[int] = ()


@dataclass(frozen=True)
class Telling:
    """A text that the language model goes on from, and what it has to say then.

    `a photo of` and a caption, or `Question: ... Answer:` and an answer.
    """

    prompt: str
    reply: str


@dataclass(frozen=True)
class ToldPictures:
    """Stage two: n pictures `float32 [n, 3, R, R]`, normalised; text k is about picture `rows[k]`."""

    pixels: Tensor
    texts: Sequence[Telling]
    rows: Sequence[int]


def by_length(sequences: Sequence[Sequence[int]], at_once: int = 64) -> list[list[int]]:
    """The numbers of sequences, the shortest first, so many at once: texts of about one length need little padding."""
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    return [order[start : start + at_once] for start in range(0, len(order), at_once)]


class Lessons(Protocol):
    """Who draws the batches; `step` counts from 0 in each stretch of training."""

    def captioned(self, step: int) -> CaptionedPictures:
        """A batch of stage one."""
        ...

    def texts(self, step: int) -> Sequence[Telling]:
        """A batch for the language model on its own."""
        ...

    def told(self, step: int) -> ToldPictures:
        """A batch of stage two."""
        ...
