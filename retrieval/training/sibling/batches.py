"""What the sibling learns from: pictures with captions, pictures with texts to be said, and texts alone.

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
    """Stage one: n pictures `float32 [n, 3, R, R]`, normalised, and m captions, one or more of each picture.

    Caption k is of picture `rows[k]`; `truth[i, j]`, `bool [n, m]`, says that caption j is true of picture i, which
    keeps it from being a negative. `pairs` are what ITM learns from beside the negatives that the trainer finds:
    true ones, and false ones that are nearly true.
    """

    pixels: Tensor
    captions: Sequence[str]
    rows: Sequence[int]
    truth: Tensor
    pairs: Pairs


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


def by_length(sequences: Sequence[Sequence[int]], at_once: int = 64) -> list[list[int]]:
    """The numbers of sequences, the shortest first, so many at once: texts of about one length need little padding."""
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    return [order[start : start + at_once] for start in range(0, len(order), at_once)]


class Lessons(Protocol):
    """Who draws the batches; `step` counts from 0 in each stretch of training.

    `hints` has the kinds of hints of stage one and how many answers there are to each, `told_hints` those of stage two.
    """

    @property
    def hints(self) -> Mapping[str, int]:
        """What tokens of texts are asked about, and among how many answers."""
        ...

    @property
    def told_hints(self) -> Mapping[str, int]:
        """The same of what is told."""
        ...

    def captioned(self, step: int) -> CaptionedPictures:
        """A batch of stage one."""
        ...

    def texts(self, step: int) -> Sequence[Telling]:
        """A batch for the language model on its own."""
        ...

    def told(self, step: int) -> ToldPictures:
        """A batch of stage two."""
        ...
