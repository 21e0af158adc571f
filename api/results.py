"""What the verbs give back: small values that commands print and routes shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from indexer.build import Report
from retrieval.evaluation.run import Direction
from retrieval.features import Kind
from retrieval.models.checkpoints import Checkpoint
from retrieval.types import Float32, Hit


@dataclass(frozen=True)
class Indexed:
    """The outcome of indexing: the gallery's name and model, and what was found and done."""

    gallery: str
    model: str | None
    revision: int
    report: Report


@dataclass(frozen=True)
class Page:
    """Hits and how they were found: `stages` is "itc+itm", "itc" or "names" (full-text search, without scores).

    `model` found the candidates, `matcher` is the model that reranked them: the same unless another was asked for,
    None without reranking.
    """

    gallery: str | None
    model: str | None
    matcher: str | None
    revision: int | None
    stages: str
    unknown_words: tuple[str, ...]
    hits: tuple[Hit, ...]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, eq=False)
class Features:
    """What a model makes of pictures, texts or both: row i belongs to `uris[i]`, to `texts[i]`, or to both.

    `embeddings` is `float32 [n, v, d]`, or `[n, d]` for texts without every token. Where texts differ in length, rows
    of zeros fill up: `lengths[i]` of the v rows count. `failed` names files of a folder that are no pictures, with
    reasons.
    """

    model: str
    kind: Kind
    projected: bool
    embeddings: Float32
    lengths: tuple[int, ...]
    uris: tuple[str, ...]
    texts: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Exported:
    """Features that were written: the shape is that of one array of all of them."""

    model: str
    kind: Kind
    projected: bool
    shape: tuple[int, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Evaluated:
    """A stored evaluation: recall in both directions, before and after reranking by `matcher`, if there was any.

    `pooled` items passed a first pass over one vector of each, where one was asked for.
    """

    id: int
    gallery: str
    model: str
    matcher: str | None
    revision: int
    candidates: int
    pooled: int | None
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
