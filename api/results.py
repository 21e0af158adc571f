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


BELIEVED, REJECTED, DOUBTED, TRUSTED = "believed", "rejected", "doubted", "trusted"
"""What the matcher makes of a caption that was written (the first two) and of a text that was given."""


@dataclass(frozen=True)
class ReviewRow:
    """A text about a picture (item id and file) and what the matcher makes of it; `keep` is what a person decided."""

    item: int
    file: str
    text: str
    kind: str
    match_probability: float
    keep: bool | None

    @property
    def is_kept(self) -> bool:
        """Whether the text stands: a person's word, else the matcher's."""
        return self.kind in {BELIEVED, TRUSTED} if self.keep is None else self.keep


@dataclass(frozen=True)
class Bootstrapped:
    """What a bootstrap found in a gallery: a row per caption that was written and per pair that was given.

    `looked_at` pictures were read by this run, `missing` ones could not be; `added` and `removed` count synthetic
    pairs, `unknown` the rows of a review that the gallery does not know.
    """

    gallery: str
    model: str
    captioner: str
    threshold: float
    pictures: int
    looked_at: int
    missing: int
    rows: tuple[ReviewRow, ...]
    added: int = 0
    removed: int = 0
    unknown: int = 0

    def of_kind(self, *kinds: str) -> list[ReviewRow]:
        """Give the rows of some kinds, the least likely match first."""
        return sorted((row for row in self.rows if row.kind in kinds), key=lambda row: row.match_probability)

    @property
    def review(self) -> list[ReviewRow]:
        """The rows that a person may want to look at: doubted pairs, then captions, the least likely match first."""
        return [*self.of_kind(DOUBTED), *self.of_kind(BELIEVED, REJECTED)]


@dataclass(frozen=True)
class ModelRow:
    """A row of the table of models and whether its weights are here."""

    checkpoint: Checkpoint
    cached: bool
