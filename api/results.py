"""What the verbs give back: small values that commands print and routes shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from indexer.build import Report
from retrieval.evaluation.run import Direction
from retrieval.models.checkpoints import Checkpoint
from retrieval.types import Hit


@dataclass(frozen=True)
class Indexed:
    """The outcome of indexing: the gallery's name and model, and what was found and done."""

    gallery: str
    model: str | None
    revision: int
    report: Report


@dataclass(frozen=True)
class Page:
    """Hits and how they were found: `stages` is "itc+itm", "itc" or "names" (full-text search, without scores)."""

    gallery: str | None
    model: str | None
    revision: int | None
    stages: str
    unknown_words: tuple[str, ...]
    hits: tuple[Hit, ...]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class Evaluated:
    """A stored evaluation: recall in both directions, before and after reranking."""

    id: int
    gallery: str
    model: str
    revision: int
    candidates: int
    directions: tuple[Direction, ...]


@dataclass(frozen=True)
class ModelRow:
    """A row of the table of models and whether its weights are here."""

    checkpoint: Checkpoint
    cached: bool
