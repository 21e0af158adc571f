"""Two evaluations side by side: the queries that both asked, what changed, and whether chance alone would do that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from api.doors.evaluated import evaluated, finished
from api.doors.reports import check_path, write
from api.errors import UsageError
from api.reports import html as pages_of_html
from api.results import Evaluated
from api.wiring import Wiring
from indexer.sources.naming import item_name
from retrieval.evaluation.benchmark import Choice, standings
from retrieval.evaluation.intervals import paired
from retrieval.evaluation.measured import NDCG_AT, mean_of_folds
from retrieval.evaluation.measures import CUTOFFS, ndcg, reciprocal_rank, success
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, TEXTS, from_bytes, scores
from retrieval.evaluation.ranks import MISSED, Float64, Int64, right_places
from retrieval.models.checkpoints import Scoring
from storage import evaluations, items
from storage.db import Session
from storage.evaluations import Evaluation
from storage.items import Item

BY_ID, BY_NAME = "item", "name"
"""How queries of two evaluations are known to be the same: an item of one gallery, or the same name in two."""
CHANGED = 10
"""Queries that are shown of those that changed most, in either way."""
SEED = 0
ROUNDING = 1e-9
NDCG = f"ndcg@{NDCG_AT}"

Name = tuple[str, ...]


@dataclass(frozen=True)
class Matched:
    """How many queries of a direction both evaluations asked, of how many each, and how they were matched."""

    direction: str
    queries: int
    first: int
    second: int
    by: str


@dataclass(frozen=True)
class Difference:
    """A measure over the queries that both asked: two means, and second - first with its 95 % interval and p.

    `stage` is "before" for the first stage, "after" for the order that an evaluation ends with: that of the first
    stage again where it reranked nothing. p is how likely chance alone makes a difference as large.
    """

    direction: str
    stage: str
    measure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Change:
    """A query whose last rank changed: its text or file name, and its item in both; a rank of None is missed."""

    direction: str
    query: str
    first_item: int
    second_item: int
    first: int | None
    second: int | None


@dataclass(frozen=True)
class Differing:
    """A setting, a version or a state that the evaluations do not share; None where one has none."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """Two evaluations: what they share, what differs, and what that comes to.

    `better` and `worse` are the queries that changed most from the first to the second, by the change of 1 / rank.
    `notes` are sentences about what could not be compared.
    """

    first: Evaluated
    second: Evaluated
    matched: tuple[Matched, ...]
    differences: tuple[Difference, ...]
    better: tuple[Change, ...]
    worse: tuple[Change, ...]
    differing: tuple[Differing, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Write it down as JSON; the evaluations by id, gallery, model and matcher."""
        return {
            "first": _named(self.first),
            "second": _named(self.second),
            **{
                name: [asdict(one) for one in getattr(self, name)]
                for name in ("matched", "differences", "better", "worse", "differing")
            },
            "notes": list(self.notes),
        }


def compare(wiring: Wiring, first_id: int, second_id: int) -> Comparison:
    """Compare two evaluations over the queries that both asked.

    Queries of one gallery are matched by item, those of two by name: a picture by the name that its source gives it, a
    text by its wording and its pictures' names. Means are over queries, without regard to folds.

    Raises EvaluationNotFound, and UsageError for evaluations that have not come to their end, that are so old that no
    pages were kept, or that share no query.
    """
    if first_id == second_id:
        raise UsageError("evaluation", f"evaluation {first_id} would be compared with itself: name two")
    with wiring.database.reading() as session:
        first, second = _Side(session, first_id), _Side(session, second_id)
        by = BY_ID if first.gallery.id == second.gallery.id else BY_NAME
        pairs = {name: _pairs(session, first, second, name) for name in DIRECTIONS}
        if not any(map(len, pairs.values())):
            raise UsageError("evaluation", _nothing_shared(first, second))
        better, worse = _changes(session, first, second, pairs)
    matched = tuple(
        Matched(name, len(pairs[name]), len(first.asked[name].ids), len(second.asked[name].ids), by)
        for name in DIRECTIONS
    )
    return Comparison(
        first=first.result,
        second=second.result,
        matched=matched,
        differences=tuple(_differences(first, second, pairs)),
        better=better,
        worse=worse,
        differing=tuple(_differing(first.result, second.result)),
        notes=tuple(_notes(first, second)),
    )


def html(comparison: Comparison) -> str:
    """Show a comparison as one page that needs nothing else."""
    return pages_of_html.render("comparison.html.j2", comparison=comparison)


def save(comparison: Comparison, path: Path | str) -> Path:
    """Write that page to a file, whole or not at all, and give its path; UsageError where none can be written."""
    place = check_path(path)
    write(html(comparison), place)
    return place


# --- what each evaluation found


@dataclass(frozen=True)
class _Asked:
    """The queries of one direction, sorted by item: ranks and nDCG by the first stage and at the end, each `[q]`.

    nDCG is None where what is right cannot be told any more.
    """

    ids: Int64
    ranks: Mapping[str, Int64]
    ndcgs: Mapping[str, Float64] | None


class _Side:
    """One of the two evaluations, with what each of its queries found."""

    def __init__(self, session: Session, evaluation_id: int) -> None:
        self.gallery, self.stored = finished(session, evaluation_id)
        self.result = evaluated(self.gallery, self.stored)
        self.right = _right(session, self.stored)
        self.asked = {name: self._read(session, name) for name in DIRECTIONS}
        if not any(len(one.ids) for one in self.asked.values()):
            raise UsageError(
                "evaluation",
                f"evaluation {evaluation_id} is of a version that kept no pages: `sightline evaluate "
                f"{self.gallery.name}` makes one that can be compared",
            )

    @property
    def is_reranked(self) -> bool:
        """Whether the order at the end is a matcher's."""
        return self.result.matcher is not None

    def _read(self, session: Session, direction: str) -> _Asked:
        right = self.right[direction]
        scoring: Scoring = self.stored.settings.get("scoring", "itc") if self.is_reranked else "itc"
        orders: dict[str, Scoring] = {"before": "itc", "after": scoring}
        ids: list[int] = []
        folds: list[int] = []
        ranks: dict[str, list[int]] = {stage: [] for stage in orders}
        ndcgs: dict[str, list[float]] = {stage: [] for stage in orders}
        for one in evaluations.pages(session, self.stored.id, direction):
            ids.append(one.query_id)
            folds.append(one.fold)
            last = one.after if self.is_reranked else one.before
            ranks["before"].append(one.before or MISSED)
            ranks["after"].append(last or MISSED)
            for stage, value in _ndcgs(one.page, orders, right.get(one.query_id, frozenset())).items():
                ndcgs[stage].append(value)
        found = {stage: np.array(values) for stage, values in ndcgs.items()}
        return _Asked(
            np.array(ids, dtype=np.int64),
            {stage: np.array(values, dtype=np.int64) for stage, values in ranks.items()},
            found if self._are_as_stored(direction, found, np.array(folds)) else None,
        )

    def _are_as_stored(self, direction: str, found: Mapping[str, Float64], folds: Int64) -> bool:
        """Whether nDCG by today's pairs is what was measured: they may have changed, or only some may have counted."""
        stored = self.stored.measures.get(direction, {})
        for stage, values in found.items():
            measured = (stored.get(stage) or stored.get("before") or {}).get(NDCG)
            if measured is None or not len(values) or abs(mean_of_folds(values, folds) - measured) > ROUNDING:
                return False
        return True


def _right(session: Session, stored: Evaluation) -> Mapping[str, Mapping[int, frozenset[int]]]:
    """Read what is right for each query of both directions by the gallery's pairs, as they are today."""
    found: dict[str, dict[int, set[int]]] = {name: defaultdict(set) for name in DIRECTIONS}
    choice = Choice(synthetic=bool(stored.settings.get("synthetic")))
    for text, image in items.pairs(session, stored.gallery_id, standings(choice)):
        found[IMAGES][text].add(image)
        found[TEXTS][image].add(text)
    return {name: {query: frozenset(some) for query, some in right.items()} for name, right in found.items()}


def _ndcgs(page: bytes, orders: Mapping[str, Scoring], right: Collection[int]) -> dict[str, float]:
    rows = from_bytes(page)
    rows = rows[rows["rank"] > 0]
    is_right = np.isin(rows["item"], list(right))
    found = {}
    for stage, scoring in orders.items():
        order = scores(rows, scoring)
        ranked = np.isfinite(order)
        found[stage] = ndcg(right_places(order[ranked], is_right[ranked]), len(right), NDCG_AT)
    return found


# --- which queries are the same


def _pairs(session: Session, first: _Side, second: _Side, direction: str) -> Int64:
    """Give the places of the queries that both asked: `int64 [n, 2]`."""
    ours, theirs = first.asked[direction].ids, second.asked[direction].ids
    if first.gallery.id == second.gallery.id:
        _, left, right = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
        return np.stack([left, right], axis=1).astype(np.int64)
    known = _places(_names(session, second, theirs, direction))
    found = []
    for name, places in _places(_names(session, first, ours, direction)).items():
        # Those of one name cannot be told apart, so they are taken in their order.
        found += list(zip(places, known.get(name, ()), strict=False))
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _places(names: Iterable[Name | None]) -> Mapping[Name, list[int]]:
    found: dict[Name, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        if name is not None:
            found[name].append(place)
    return found


def _names(session: Session, side: _Side, queries: Int64, direction: str) -> list[Name | None]:
    """Name queries so that they can be known again in another gallery; None for what is gone."""
    ids = [int(query) for query in queries]
    told = {item_id: body for item_id, (_, body) in items.metadata(session, side.gallery.id).items()}
    if direction != IMAGES:
        known = items.by_ids(session, ids)
        return [(item_name(known[query], told.get(query)),) if query in known else None for query in ids]
    right = side.right[direction]
    known = items.by_ids(session, {*ids, *(image for query in ids for image in right.get(query, ()))})
    files = {item.id: item_name(item, told.get(item.id)) for item in known.values() if item.kind == "image"}
    return [
        (known[query].text or "", *sorted(files[image] for image in right.get(query, ()) if image in files))
        if query in known
        else None
        for query in ids
    ]


def _nothing_shared(first: _Side, second: _Side) -> str:
    pair = f"evaluations {first.stored.id} and {second.stored.id}"
    if first.gallery.id == second.gallery.id:
        return (
            f"{pair} share no query: they measured different parts of {first.gallery.name}; give both the same choice"
        )
    return (
        f"{pair} share no query: no picture or text of {first.gallery.name} has a name that {second.gallery.name} "
        "knows; index the same folder or dataset into both"
    )


# --- what changed


def _differences(first: _Side, second: _Side, pairs: Mapping[str, Int64]) -> Iterable[Difference]:
    stages = ("before", "after") if first.is_reranked or second.is_reranked else ("before",)
    for direction, places in pairs.items():
        if not len(places):
            continue
        for stage in stages:
            ours = _values(first.asked[direction], stage, places[:, 0])
            theirs = _values(second.asked[direction], stage, places[:, 1])
            for measure in (name for name in ours if name in theirs):
                before, after = ours[measure], theirs[measure]
                found = paired(before, after, seed=SEED)
                yield Difference(
                    direction=direction,
                    stage=stage,
                    measure=measure,
                    first=float(before.mean()),
                    second=float(after.mean()),
                    **asdict(found),
                )


def _values(asked: _Asked, stage: str, places: Int64) -> dict[str, Float64]:
    """Give every measure of some queries, `[q]` each."""
    ranks = asked.ranks[stage][places]
    found = {f"recall@{k}": success(ranks, k) for k in CUTOFFS}
    found["mrr"] = reciprocal_rank(ranks)
    if asked.ndcgs is not None:
        found[NDCG] = asked.ndcgs[stage][places]
    return found


def _changes(
    session: Session, first: _Side, second: _Side, pairs: Mapping[str, Int64]
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """Choose the queries that changed most for the better and for the worse, by the change of 1 / rank."""
    rows: list[tuple[float, str, int, int]] = []
    for direction, places in pairs.items():
        ours, theirs = first.asked[direction].ranks["after"], second.asked[direction].ranks["after"]
        moved = reciprocal_rank(theirs[places[:, 1]]) - reciprocal_rank(ours[places[:, 0]])
        order = np.argsort(moved, kind="stable")
        some = {*order[:CHANGED].tolist(), *order[::-1][:CHANGED].tolist()}
        rows += [(float(moved[i]), direction, int(places[i, 0]), int(places[i, 1])) for i in sorted(some)]
    better = sorted((row for row in rows if row[0] > 0), key=lambda row: -row[0])[:CHANGED]
    worse = sorted((row for row in rows if row[0] < 0), key=lambda row: row[0])[:CHANGED]
    known = items.by_ids(session, {int(first.asked[name].ids[place]) for _, name, place, _ in (*better, *worse)})

    def change(row: tuple[float, str, int, int]) -> Change:
        _, direction, left, right = row
        ours, theirs = first.asked[direction], second.asked[direction]
        item = int(ours.ids[left])
        ranks = int(ours.ranks["after"][left]), int(theirs.ranks["after"][right])
        return Change(
            direction=direction,
            query=_said(session, known.get(item), item),
            first_item=item,
            second_item=int(theirs.ids[right]),
            first=ranks[0] or None,
            second=ranks[1] or None,
        )

    return tuple(map(change, better)), tuple(map(change, worse))


def _said(session: Session, item: Item | None, item_id: int) -> str:
    if item is None:
        return f"item {item_id}, no longer in the gallery"
    return (item.text or "") if item.kind == "text" else item_name(item, items.metadata_of(session, item_id)[1])


# --- what differs


def _differing(first: Evaluated, second: Evaluated) -> Iterable[Differing]:
    ours, theirs = _facts(first), _facts(second)
    for what in dict.fromkeys([*ours, *theirs]):
        if ours.get(what) != theirs.get(what):
            yield Differing(what, ours.get(what), theirs.get(what))


def _facts(one: Evaluated) -> dict[str, Any]:
    """Name everything that may explain a difference."""
    facts = {
        "gallery": one.gallery,
        "revision": one.revision,
        "model": one.model,
        "matcher": one.matcher,
        "encoder fingerprint": one.fingerprint,
        "matcher fingerprint": one.matcher_fingerprint,
        "protocol": one.protocol,
    }
    facts |= {f"items, {direction.name}": direction.items for direction in one.directions}
    facts |= {f"setting {name}": value for name, value in one.settings.items() if name != "matcher"}
    return facts | {f"version of {name}": value for name, value in one.versions.items()}


def _notes(first: _Side, second: _Side) -> Iterable[str]:
    for side in (first, second):
        if any(len(one.ids) and one.ndcgs is None for one in side.asked.values()):
            yield (
                f"nDCG is left out where evaluation {side.stored.id} cannot be read so any more: what is right has "
                "changed since, or only a part of it counted."
            )
    if first.is_reranked != second.is_reranked:
        only, other = (first, second) if first.is_reranked else (second, first)
        yield (
            f"Evaluation {other.stored.id} reranked nothing: after reranking, evaluation {only.stored.id} is held "
            "against its first stage."
        )


def _named(one: Evaluated) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("id", "gallery", "model", "matcher", "revision", "candidates")}
