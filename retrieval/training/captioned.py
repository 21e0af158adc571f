"""Pictures with captions, and texts beside them that are true or nearly true: what ITC and ITM learn from.

Whoever draws them gives the numbers of a step from a seed and the step alone, so that a resumed run sees what it
would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Texts beside pictures: text k stands beside picture `rows[k]` and is true of it where `matches[k]`.

    `hints[kind]`, `int64 [texts, t]`, has an answer for every token of the texts, [CLS] and [SEP] among them, or
    IGNORED; rows may be shorter than a text.
    """

    texts: Sequence[str]
    rows: Sequence[int]
    matches: Sequence[bool]
    hints: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class CaptionedPictures:
    """Pictures `float32 [n, 3, R, R]`, normalised, and m captions, one or more of each picture.

    Caption k is of picture `rows[k]`; `truth[i, j]`, `bool [n, m]`, says that caption j is true of picture i, which
    keeps it from being a negative. `pairs` are what ITM learns from beside the negatives that the trainer finds:
    true ones, and false ones that are nearly true.
    """

    pixels: Tensor
    captions: Sequence[str]
    rows: Sequence[int]
    truth: Tensor
    pairs: Pairs


class CaptionLessons(Protocol):
    """Who draws the batches; `hints` has the kinds of hints of pairs, and how many answers there are to each."""

    @property
    def hints(self) -> Mapping[str, int]:
        """What tokens of texts are asked about, and among how many answers."""
        ...

    def captioned(self, step: int) -> CaptionedPictures:
        """The batch of a step, which counts from 0."""
        ...


def by_length(sequences: Sequence[Sequence[int]], at_once: int = 64) -> list[list[int]]:
    """The numbers of sequences, the shortest first, so many at once: texts of about one length need little padding."""
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    return [order[start : start + at_once] for start in range(0, len(order), at_once)]
