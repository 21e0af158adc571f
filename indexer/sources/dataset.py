"""What a dataset says: its pictures in order, and of each the texts that describe it and whatever else is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Text:
    """A text of a dataset. `key` names it within the dataset, the same every time: "annotation 38", "a.jpg#0"."""

    key: str
    text: str


@dataclass(frozen=True)
class Example:
    """One picture of a dataset and what is said of it.

    `place` is where the dataset says it ("images[3]", "line 4"). `name` is the picture's name as the dataset has it,
    `picture` the file it stands for, which may be missing, or a place inside an archive (the archive's path with the
    member's name below it). `metadata` is JSON: licence, size, and whatever other columns there are.
    """

    place: str
    name: str
    picture: Path
    texts: tuple[Text, ...] = ()
    split: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A dataset as it was read: nothing in it is missing, double or empty, but pictures may be."""

    path: Path
    layout: str
    examples: tuple[Example, ...]
