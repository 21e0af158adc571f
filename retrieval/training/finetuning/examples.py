"""Examples: a picture with a text, or with a question and its answers; which are held out, and their order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from PIL.Image import Image

from retrieval.errors import TooFewExamples

SPLIT_SEED = 0
SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """A picture that is opened when it is needed; `content` is the digest by which equal pictures are known."""

    name: str
    content: str
    open: Callable[[], Image]


@dataclass(frozen=True)
class Example:
    """A picture, by its number, with a text; where the text is a question, its answers with weights that add to 1."""

    picture: int
    text: str
    answers: tuple[tuple[str, float], ...] = ()

    @property
    def has_sides(self) -> bool:
        """Whether it speaks of left or right, so that a mirrored picture would make it wrong."""
        return any(SIDES.search(text) for text in (self.text, *(answer for answer, _ in self.answers)))


@dataclass(frozen=True)
class Examples:
    """All examples over one list of pictures; no picture is in both parts."""

    pictures: tuple[Picture, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is trained on and what is held out: contents, texts and answers, in order."""
        sha = hashlib.sha256()
        for part in (self.train, self.validation):
            for example in part:
                sha.update(repr((self.pictures[example.picture].content, example.text, example.answers)).encode())
            sha.update(b"end of a part")
        return sha.hexdigest()


@dataclass(frozen=True)
class Plan:
    """How the examples of an epoch become steps: every process takes `batch` of them, `accumulate` times a step."""

    examples: int
    batch: int
    accumulate: int
    processes: int
    seed: int

    @classmethod
    def of(cls, examples: int, *, batch: int, accumulate: int, processes: int, seed: int) -> Plan:
        """Plan with a smaller batch where there are too few examples for one step; raises TooFewExamples."""
        largest = examples // (processes * accumulate)
        if largest * processes < 2:
            raise TooFewExamples(examples, max(2, processes) * accumulate)
        return cls(examples, min(batch, largest), accumulate, processes, seed)

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch; examples that fill no step wait for another epoch's order."""
        return self.examples // (self.batch * self.accumulate * self.processes)

    def order(self, epoch: int) -> list[int]:
        """The order of an epoch's examples, from seed and epoch alone."""
        order = list(range(self.examples))
        Random(f"order {self.seed} {epoch}").shuffle(order)
        return order

    def joined(self, order: Sequence[int], step: int, part: int) -> Sequence[int]:
        """The examples that all processes together see in one part of a step."""
        size = self.batch * self.processes
        start = (step * self.accumulate + part) * size
        return order[start : start + size]


def is_held_out(content: str, share: float) -> bool:
    """Whether a picture belongs to the validation part: by its content alone, so that every run says the same."""
    digest = hashlib.sha256(f"split {SPLIT_SEED} {content}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
