"""From what every query found to what is reported: measures with intervals, where recall was lost, and how deep to go.

Pages are taken in one by one; what is kept of each is a handful of numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import TooFewHits
from retrieval.evaluation.calibrating import PLACES, Fitted, Sample, fit
from retrieval.evaluation.intervals import Interval, interval, median_interval
from retrieval.evaluation.measures import CUTOFFS, DEPTHS, RecallCurve, median_rank, ndcg, reciprocal_rank, success
from retrieval.evaluation.pages import SCORINGS, TEXTS, Found, Rows, scores
from retrieval.evaluation.ranks import MISSED, authors_first_right, first_rights, missed_as_infinite, right_places
from retrieval.models.checkpoints import Scoring
from retrieval.rerank import Judged
from retrieval.types import Candidate

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NDCG_AT = 10
WORTH = 0.005
"""Half a point of recall: what a cheaper setting may lose against the best one."""
AUTHORS_FILL = -100.0
"""What the authors' score matrices hold where no pair was read (salesforce/ALBEF Retrieval.py, `evaluation`)."""
ENCODER, INDEX, CUT_OFF, RERANKER, UNREAD = "encoder", "index", "cut-off", "reranker", "unread"
CAUSES = (ENCODER, INDEX, CUT_OFF, RERANKER, UNREAD)
AUTHORS_DECIMALS = 4
"""To which ALPRO's authors round match probabilities (salesforce/ALPRO run_video_retrieval.py)."""
DEPTH_CUTOFFS = (1, 10)
SHOWN = 12
"""Best and worst queries that a report shows."""


@dataclass(frozen=True)
class Stage:
    """The measures of one order of the pages, and their 95 % bootstrap intervals over queries.

    Names: recall@1, recall@5, recall@10 (any right item among the first k), mrr, ndcg@10, median_rank. What is not
    among the candidates is missed; a median rank is infinite where more than half is.
    """

    measures: Mapping[str, float]
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class Depths:
    """What other numbers of candidates would have given: recall@1 and recall@10, and milliseconds per query.

    Milliseconds grow by what one pair took in this run. `cheapest` is the least number within half a point of the best.
    """

    candidates: tuple[int, ...]
    recall: Mapping[str, tuple[float, ...]]
    milliseconds: tuple[float, ...] = field(compare=False)
    cheapest: Mapping[str, int]


@dataclass(frozen=True)
class QueryRank:
    """A query (item id) and the ranks of its first right item, before and after reranking; None is missed."""

    query: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Direction:
    """What was measured of one direction.

    `items` is how many there are to choose from. `before` is the order of the first stage, `after` that of the reranker
    (None without one). `authors` holds recall by the authors' own sort of the same scores. `scores` is recall after
    reranking by each way to score the same candidates. `misses` counts, for each recall@k, the missed queries by cause.
    `folds` is recall after reranking (else before) fold by fold, where there are several. `curve` is recall at every
    depth of the page. `unread` counts queries whose own picture, or every right one among the candidates, could not be
    read. `best` and `worst` are queries.
    """

    name: str
    queries: int
    items: int
    before: Stage
    after: Stage | None
    authors: Mapping[str, Mapping[str, float]]
    scores: Mapping[str, Mapping[str, float]]
    misses: Mapping[str, Mapping[str, int]]
    folds: tuple[Mapping[str, float], ...]
    curve: RecallCurve
    depths: Depths | None
    milliseconds: Mapping[str, float]
    calibration: Fitted | None
    unread: int
    best: tuple[QueryRank, ...]
    worst: tuple[QueryRank, ...]


class Tally:
    """Takes in the pages of one direction, and says at the end what they come to."""

    def __init__(self, name: str, *, items: int, scoring: Scoring, is_reranked: bool, candidates: int) -> None:
        """Measure a direction with `items` to choose from, whose candidates were ordered by `scoring`."""
        self.name, self.items, self.scoring, self.is_reranked = name, items, scoring, is_reranked
        self.depths = sorted({depth for depth in (*DEPTHS, candidates, items) if depth <= min(candidates, items)})
        self.queries: list[int] = []
        self.folds: list[int] = []
        self.values: dict[str, list[float]] = defaultdict(list)
        self.by_depth: list[list[int]] = []
        self.causes: dict[int, list[str | None]] = {k: [] for k in CUTOFFS}
        self.sample = Sample()
        self.pairs = self.unread = self.longest = 0

    def add(self, found: Found, right: Collection[int], pool: Int64) -> None:
        """Take in one page; `pool` are the ids of all items that the query chose from, sorted."""
        page = _Page.of(found, right)
        rows, is_right = page.rows, page.is_right
        orders: dict[str, Float64] = {scoring: scores(rows, scoring) for scoring in SCORINGS}
        ranks = dict(zip(SCORINGS, _places(np.stack([*orders.values()]), is_right).tolist(), strict=True))
        before, after = ranks["itc"], ranks[self.scoring]
        self.queries.append(found.query)
        self.folds.append(found.fold)
        for scoring in SCORINGS:
            self.values[scoring].append(ranks[scoring])
        last = after if self.is_reranked else before
        stages: tuple[tuple[str, Scoring], ...] = (("before", "itc"), ("after", self.scoring))
        for stage, scoring in stages:
            order = orders[scoring]
            self.values[f"ndcg {stage}"].append(_ndcg(order, is_right, len(right)))
            self.values[f"authors {stage}"].append(_authors_place(order, scoring, rows, right, pool))
        inside = page.ranks[None, :] <= np.array(self.depths)[:, None]
        self.by_depth.append(_places(np.where(inside, orders[self.scoring], -np.inf), is_right).tolist())
        for k in CUTOFFS:
            self.causes[k].append(self._cause(page, last, k))
        self.values["first"].append(found.first_milliseconds)
        self.values["rerank"].append(found.rerank_milliseconds)
        judged = int((~np.isnan(rows["yes"])).sum())
        self.pairs += judged
        self.longest = max(self.longest, len(rows))
        if self.is_reranked:
            self.unread += page.is_unread
            self.sample.add(_first_hits(rows, orders[self.scoring], PLACES + len(right)), right)

    def measured(self, *, seed: int = 0) -> Direction:
        """Say what all pages come to."""
        folds = np.array(self.folds)
        stages = {stage: self._stage(stage, folds, seed) for stage in ("before", "after")}
        last = "after" if self.is_reranked else "before"
        return Direction(
            name=self.name,
            queries=len(self.queries),
            items=self.items,
            before=stages["before"],
            after=stages["after"] if self.is_reranked else None,
            authors={
                stage: _recalls(np.array(self.values[f"authors {stage}"], dtype=np.int64), folds)
                for stage in (("before", "after") if self.is_reranked else ("before",))
            },
            scores={scoring: _recalls(self._ranks(scoring), folds) for scoring in SCORINGS} if self.is_reranked else {},
            misses={f"recall@{k}": {cause: self.causes[k].count(cause) for cause in CAUSES} for k in CUTOFFS},
            folds=self._by_fold(self._ranks(self._scoring_of(last)), folds),
            curve=self._curve(),
            depths=self._depths() if self.is_reranked else None,
            milliseconds=self._milliseconds(),
            calibration=self._calibration(),
            unread=self.unread,
            best=self._extremes(best=True),
            worst=self._extremes(best=False),
        )

    def _scoring_of(self, stage: str) -> Scoring:
        return "itc" if stage == "before" else self.scoring

    def _ranks(self, scoring: Scoring) -> Int64:
        return np.array(self.values[scoring], dtype=np.int64)

    def _cause(self, page: _Page, rank: int, k: int) -> str | None:
        """Say what lost a query at k; None for one that was not lost.

        What could not be read was lost by that. A right item that was a candidate was lost by the reranker, or without
        one by the encoder. One that is more similar than the last candidate was lost by the index. Any other was cut
        off where the reranker would have brought it among the first k, and else lost by the encoder, which no deeper
        page makes good.
        """
        if MISSED < rank <= k:
            return None
        # Where the cosine orders the candidates, the reranker has moved nothing.
        is_moved = self.is_reranked and self.scoring != "itc"
        if is_moved and page.is_unread:
            return UNREAD
        if page.is_right.any():
            return RERANKER if is_moved else ENCODER
        rows, outsider = page.rows, page.outsider
        if len(rows) and outsider["similarity"][0] > rows["similarity"][rows["rank"].argmax()]:
            return INDEX
        if not is_moved:
            return ENCODER
        score = scores(outsider, self.scoring)[0]
        better = int((scores(rows, self.scoring)[rows["item"] != outsider["item"][0]] >= score).sum())
        return CUT_OFF if np.isfinite(score) and better < k else ENCODER

    def _stage(self, stage: str, folds: Int64, seed: int) -> Stage:
        ranks = self._ranks(self._scoring_of(stage))
        each: dict[str, Float64] = {f"recall@{k}": success(ranks, k) for k in CUTOFFS}
        each["mrr"] = reciprocal_rank(ranks)
        each[f"ndcg@{NDCG_AT}"] = np.array(self.values[f"ndcg {stage}"])
        found = {name: mean_of_folds(values, folds) for name, values in each.items()}
        intervals = {name: interval(values, seed=seed) for name, values in each.items()}
        found["median_rank"] = median_rank(ranks)
        intervals["median_rank"] = median_interval(missed_as_infinite(ranks), seed=seed)
        return Stage(found, intervals)

    def _by_fold(self, ranks: Int64, folds: Int64) -> tuple[Mapping[str, float], ...]:
        numbers = np.unique(folds)
        if len(numbers) < 2:
            return ()
        return tuple(_recalls(ranks[folds == number], folds[folds == number]) for number in numbers)

    def _curve(self) -> RecallCurve:
        depths = tuple(k for k in DEPTHS if k <= self.longest)
        after, before = self._ranks(self.scoring), self._ranks("itc")
        folds = np.array(self.folds)
        return RecallCurve(
            depths,
            tuple(mean_of_folds(success(before, k), folds) for k in depths),
            tuple(mean_of_folds(success(after, k), folds) for k in depths) if self.is_reranked else None,
        )

    def _depths(self) -> Depths:
        ranks, folds = np.array(self.by_depth, dtype=np.int64), np.array(self.folds)
        recall = {
            f"recall@{k}": tuple(mean_of_folds(success(ranks[:, place], k), folds) for place in range(len(self.depths)))
            for k in DEPTH_CUTOFFS
        }
        first = float(np.mean(self.values["first"]))
        pair = sum(self.values["rerank"]) / max(self.pairs, 1)
        cheapest = {
            name: next(n for n, value in zip(self.depths, values, strict=True) if value >= max(values) - WORTH)
            for name, values in recall.items()
        }
        return Depths(tuple(self.depths), recall, tuple(first + n * pair for n in self.depths), cheapest)

    def _milliseconds(self) -> dict[str, float]:
        """Mean milliseconds per query of the first stage and of reranking, and of one pair."""
        return {
            "first_stage": float(np.mean(self.values["first"])),
            "rerank": float(np.mean(self.values["rerank"])),
            "pair": sum(self.values["rerank"]) / max(self.pairs, 1),
        }

    def _calibration(self) -> Fitted | None:
        try:
            return fit(self.sample)
        except TooFewHits:
            return None

    def _extremes(self, *, best: bool) -> tuple[QueryRank, ...]:
        """Choose queries to show: those that reranking brought up most, or those that came out worst."""
        before, after = self._ranks("itc"), self._ranks(self.scoring if self.is_reranked else "itc")
        far = 10.0 * (self.longest + 1)
        was, now = (np.where(ranks == MISSED, far, ranks) for ranks in (before, after))
        # Best: right at the end, and hard for the first stage. Worst: farthest down, and made so by reranking first.
        order = np.lexsort((np.array(self.queries), -was, now) if best else (np.array(self.queries), was, -now))
        return tuple(
            QueryRank(self.queries[i], _or_none(before[i]), _or_none(after[i]) if self.is_reranked else None)
            for i in order[:SHOWN]
            if (now[i] == 1) == best
        )


def ranks(found: Found, right: Collection[int], scoring: Scoring) -> tuple[int | None, int | None]:
    """Rank the first right item of a page, by the first stage and by a score; None is missed."""
    page = _Page.of(found, right)
    orders = np.stack([scores(page.rows, "itc"), scores(page.rows, scoring)])
    before, after = _places(orders, page.is_right).tolist()
    return _or_none(before), _or_none(after)


@dataclass(frozen=True)
class _Page:
    """A page by the tie rule: `is_right` says of the n candidates which are right, and candidates beyond doubt.

    `ranks` are those of the first stage, of right candidates behind every wrong item that is as similar: so one that
    was handed on only because a tie was cut through in its favour does not count. `outsider` is the best right item of
    those that do not count, one row, where none does. `is_unread`: the query's own picture, or every right one among
    the candidates, could not be read.
    """

    rows: Rows
    is_right: NDArray[np.bool_]
    ranks: Int64
    outsider: Rows
    is_unread: bool

    @classmethod
    def of(cls, found: Found, right: Collection[int]) -> _Page:
        rows = found.candidates
        is_right = _among(rows["item"], right)
        ranks = rows["rank"].astype(np.int64)
        seen = np.concatenate([rows, found.runner_up])
        is_ours = np.concatenate([is_right, _among(found.runner_up["item"], right)])
        best_first = np.flatnonzero(is_ours)[np.argsort(-seen["similarity"][is_ours], kind="stable")]
        reached = np.concatenate([ranks, np.zeros(len(found.runner_up), dtype=np.int64)])
        reached[best_first] = right_places(seen["similarity"], is_ours)
        ranks = reached[: len(rows)]
        counts = is_right & (ranks <= len(rows))
        doubtful = rows[is_right & ~counts]
        unjudged = np.isnan(rows["yes"])
        is_unread = _are_all(unjudged if found.direction == TEXTS else unjudged[is_right])
        outsider = found.outsider if len(found.outsider) else doubtful[doubtful["similarity"].argsort()[::-1][:1]]
        return cls(rows, counts, ranks, outsider, is_unread)


def _among(ids: Int64, right: Collection[int]) -> NDArray[np.bool_]:
    """Say which ids are right: of a page's few, six times as quick as sorting both."""
    return np.array([one in right for one in ids.tolist()], dtype=bool)


def _are_all(said: NDArray[np.bool_]) -> bool:
    return len(said) > 0 and bool(said.all())


def _places(orders: Float64, is_right: NDArray[np.bool_]) -> Int64:
    """Rank the first right item of a page in several orders, `float64 [s, n]`; what has no score is not ranked."""
    return first_rights(orders, is_right & np.isfinite(orders))


def _ndcg(order: Float64, is_right: NDArray[np.bool_], relevant: int) -> float:
    ranked = np.isfinite(order)
    return ndcg(right_places(order[ranked], is_right[ranked]), relevant, NDCG_AT)


def _authors_place(order: Float64, scoring: Scoring, rows: Rows, right: Collection[int], pool: Int64) -> int:
    """Rank the first right item by the authors' own sort of the whole row, which is made only where ties decide.

    Their rows are float32, with -100 where no pair was read.
    """
    is_right = _among(rows["item"], right)
    found = (order.round(AUTHORS_DECIMALS) if scoring == "itm-probability" else order).astype(np.float32)
    found[~np.isfinite(found)] = AUTHORS_FILL
    best = found[is_right].max(initial=-np.inf)
    tied = bool((found[~is_right] == best).any())
    is_beyond = best <= AUTHORS_FILL
    if not tied and not is_beyond:
        return 1 + int((found > best).sum())
    if is_beyond and len(rows) >= max(CUTOFFS):
        return MISSED
    whole = np.full(len(pool), AUTHORS_FILL, dtype=np.float32)
    whole[np.searchsorted(pool, rows["item"])] = found
    return authors_first_right(whole, np.isin(pool, list(right)))


def _first_hits(rows: Rows, order: Float64, most: int) -> list[Judged]:
    """Give the first hits of a page in its last order, as the calibration reads them."""
    chosen = np.lexsort((rows["rank"], -order))[:most]
    return [
        Judged(
            Candidate(int(row["item"]), float(row["similarity"]), int(row["rank"])),
            margin=None if np.isnan(row["yes"]) else float(row["yes"]) - float(row["no"]),
        )
        for row in rows[chosen]
    ]


def _recalls(ranks: Int64, folds: Int64) -> dict[str, float]:
    return {f"recall@{k}": mean_of_folds(success(ranks, k), folds) for k in CUTOFFS}


def mean_of_folds(values: Float64, folds: Int64) -> float:
    """Average within every fold, then over the folds, as the five folds of COCO 1k are reported."""
    return float(np.mean([values[folds == number].mean() for number in np.unique(folds)]))


def _or_none(rank: int) -> int | None:
    return None if rank == MISSED else int(rank)
