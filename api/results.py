"""What the verbs give back: small values that commands print and routes shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from indexer.build import Report
from retrieval.evaluation.calibrating import Threshold
from retrieval.evaluation.measured import Depths, QueryRank
from retrieval.evaluation.measures import Bin, RecallCurve
from retrieval.features import Kind
from retrieval.models.checkpoints import Checkpoint
from retrieval.types import Float32, Hit
from storage.calibrations import Calibration as Stored
from storage.galleries import Gallery, GallerySummary
from storage.items import Item
from storage.jobs import Job


@dataclass(frozen=True)
class Indexed:
    """The outcome of indexing: the gallery's name and model, and what was found and done.

    `layout` is a dataset's; None for a folder.
    """

    gallery: str
    model: str | None
    revision: int
    report: Report
    layout: str | None = None


PAIRS, CAPTIONS = "pairs", "captions"
"""What a calibration was fitted on: the gallery's pairs, or captions that a model wrote."""


@dataclass(frozen=True)
class Calibration:
    """What is known of a gallery's match probabilities in one direction of search.

    Errors are expected calibration errors in [0, 1], measured on queries that the fit had not seen, each asked of the
    gallery as it is and without what is right: `error` over all `hits`, `first_error` over the first ones of pages, and
    the same of the softmax as it comes. `is_current`: nothing was indexed since. Two that say the same are equal,
    whenever it was said.
    """

    matcher: str
    direction: str
    source: str
    method: str
    revision: int = field(compare=False)
    is_current: bool = field(compare=False)
    created_at: datetime = field(compare=False)
    queries: int
    hits: int
    error: float
    first_error: float
    softmax_error: float
    softmax_first_error: float
    bins: tuple[Bin, ...]
    thresholds: tuple[Threshold, ...]

    @classmethod
    def of(cls, stored: Stored, gallery: Gallery) -> Calibration:
        """Read a stored fit of a gallery."""
        return cls(
            matcher=stored.matcher,
            direction=stored.direction,
            source=stored.source,
            method=stored.method,
            revision=stored.revision,
            is_current=stored.revision == gallery.revision,
            created_at=stored.created_at,
            **cls.measured(stored.measured),
        )

    @staticmethod
    def measured(found: dict[str, Any]) -> dict[str, Any]:
        """Read what was measured of a fit."""
        bins = tuple(Bin(**one) for one in found["bins"])
        thresholds = tuple(Threshold(**one) for one in found["thresholds"])
        return {**found, "bins": bins, "thresholds": thresholds}


@dataclass(frozen=True)
class Page:
    """Hits and how they were found: `stages` is "itc+itm", "itc" or "names" (full-text search, without scores).

    `model` found the candidates, `matcher` is the model that reranked them: the same unless another was asked for,
    None without reranking. `calibration` says what its match probabilities are worth; None is the softmax as it comes.
    Hits reach the `threshold`, where one was asked for. Where none does, nothing matches, and `best_below` is the best
    of what was found.
    """

    gallery: str | None
    model: str | None
    matcher: str | None
    revision: int | None
    stages: str
    unknown_words: tuple[str, ...]
    hits: tuple[Hit, ...]
    calibration: Calibration | None = None
    threshold: float | None = None
    nothing_matches: bool = False
    best_below: Hit | None = None

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


Recalls = dict[str, float | None]
"""Measures by name; a median rank is None where it is infinite."""


@dataclass(frozen=True)
class MeasuredDirection:
    """One direction of an evaluation, as `retrieval.evaluation.measured.Direction` explains.

    `intervals` holds, for "before" and "after", the 95 % interval of every measure. What an older version did not
    measure is None or empty. Two that found the same are equal, however long it took.
    """

    name: str
    queries: int | None
    before: Recalls
    after: Recalls | None
    curve: RecallCurve | None
    calibration: Calibration | None
    items: int | None = None
    intervals: dict[str, dict[str, tuple[float | None, float | None]]] = field(default_factory=dict)
    authors: dict[str, Recalls] = field(default_factory=dict)
    scores: dict[str, Recalls] = field(default_factory=dict)
    misses: dict[str, dict[str, int]] = field(default_factory=dict)
    folds: tuple[Recalls, ...] = ()
    depths: Depths | None = None
    milliseconds: dict[str, float] = field(default_factory=dict, compare=False)
    unread: int = 0
    best: tuple[QueryRank, ...] = ()
    worst: tuple[QueryRank, ...] = ()


@dataclass(frozen=True)
class Evaluated:
    """A stored evaluation: both directions, before and after reranking by `matcher`, if there was any.

    `protocol` names whose rules were followed, and `departures` what was done otherwise. `scoring` is what ordered the
    candidates after reranking. `settings` is all that was asked for, `versions` what computed it, `seconds` how long it
    took. `mean_recall` is the mean of recall@1, @5 and @10 of both directions, "before" and "after". `pooled` items
    passed a first pass over one vector of each, where one was asked for.
    """

    id: int
    gallery: str
    model: str
    matcher: str | None
    revision: int
    candidates: int
    pooled: int | None
    directions: tuple[MeasuredDirection, ...]
    created_at: datetime
    protocol: str | None = None
    departures: tuple[str, ...] = ()
    scoring: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    matcher_fingerprint: str | None = None
    versions: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    mean_recall: dict[str, float] = field(default_factory=dict)
    finished_at: datetime | None = None

    @property
    def scope(self) -> tuple[str, ...]:
        """What of the gallery was measured, where that is not all of it: its numbers are those of another benchmark."""
        return scope_of(self.settings)


def scope_of(settings: dict[str, Any]) -> tuple[str, ...]:
    """Say in short clauses what of a gallery an evaluation with such settings measures; nothing is all of it."""
    seed = f"seed {settings.get('seed', 0)}"
    clauses = {
        "split": "split {}",
        "subset": f"{{}} pictures and their texts alone ({seed})",
        "folds": "mean of {} folds",
        "queries": f"{{}} queries per direction ({seed})",
        "synthetic": "texts that a model wrote too",
    }
    return tuple(clause.format(settings[name]) for name, clause in clauses.items() if settings.get(name))


@dataclass(frozen=True)
class EvaluationRow:
    """A line in the list of a gallery's evaluations: of every task, and also those that did not come to their end."""

    id: int
    task: str
    state: str
    model: str
    matcher: str | None
    protocol: str | None
    candidates: int | None
    scope: tuple[str, ...]
    mean_recall: dict[str, float]
    seconds: float | None
    created_at: datetime


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
class GalleryDetail:
    """What there is to know of a gallery before anybody searches it.

    `examples` are queries to begin with. `matcher`, `captioner` and `answerer` name who does that for its pictures,
    None where nobody can. `candidates` is how many are reranked unless the user says. `jobs` wait or run. `warning` is
    a sentence about what makes its numbers worth little.
    """

    summary: GallerySummary
    examples: tuple[str, ...]
    matcher: str | None
    captioner: str | None
    answerer: str | None
    pairs: int
    candidates: int
    jobs: tuple[Job, ...]
    calibration: Calibration | None = None
    warning: str | None = None


@dataclass(frozen=True)
class ItemDetail:
    """An item, the gallery it is of, and when it was first seen; of a dataset, what else that says of it."""

    item: Item
    gallery: str
    created_at: datetime
    split: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Uploaded:
    """How many files were kept, and those that were not, with reasons."""

    stored: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ModelRow:
    """A row of the table of models and whether its weights are here."""

    checkpoint: Checkpoint
    cached: bool
