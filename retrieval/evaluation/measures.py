"""Measures of a run against qrels: pure functions over ranked item ids, and over places that `ranks` gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.ranks import MISSED, Float64, Int64, Ranks, missed_as_infinite

Run = Mapping[int, Sequence[int]]
"""Query id to ranked item ids, best first. What a query did not rank counts as missed."""
Qrels = Mapping[int, Collection[int]]
"""Query id to the items that are right."""

CUTOFFS = (1, 5, 10)
DEPTHS = (1, 2, 3, 5, 10, 20, 32, 50, 64, 100, 128, 200, 256, 500, 1000, 2000)
BINS = 15
"""Of a reliability diagram, equally wide: the number of Guo et al. 2017 (arXiv 1706.04599, section 5)."""


def recall_at_k(run: Run, qrels: Qrels, k: int) -> float:
    """Share of queries with a right item among the first k; a query without results counts as missed.

    This is the R@k of image-text retrieval papers (any right item counts once), in [0, 1].
    """
    if not qrels:
        return 0.0
    return sum(any(item in right for item in run.get(query, ())[:k]) for query, right in qrels.items()) / len(qrels)


def recalls(run: Run, qrels: Qrels) -> dict[str, float]:
    """Recall at the usual cut-offs, by name."""
    return {f"recall@{k}": recall_at_k(run, qrels, k) for k in CUTOFFS}


def success(ranks: Ranks, k: int) -> Float64:
    """Say of each query whether a right item is among the first k: ranks `[q]` to 1 or 0, `float64 [q]`.

    The mean is the R@k of image-text retrieval papers, which trec_eval calls success.
    """
    return (missed_as_infinite(ranks) <= k).astype(np.float64)


def reciprocal_rank(ranks: Ranks) -> Float64:
    """Give 1 / rank of each query, 0 where it was missed: ranks `[q]` to `float64 [q]`. The mean is MRR."""
    return 1 / missed_as_infinite(ranks)


def median_rank(ranks: Ranks) -> float:
    """Give the median of ranks `[q]`; a missed query is worse than any rank.

    Infinity where half of the queries or more were missed: of an even number, the median is the mean of the middle two.
    Raises ValueError without queries.
    """
    if not len(ranks):
        raise ValueError("a median rank needs queries")
    return float(np.median(missed_as_infinite(ranks)))


def mean_recall(image_to_text: Sequence[float], text_to_image: Sequence[float]) -> float:
    """Average R@1, R@5 and R@10 of both directions: the `r_mean` of ALBEF's Retrieval.py, the mR of other papers.

    Raises ValueError where a direction has not three.
    """
    if not len(image_to_text) == len(text_to_image) == len(CUTOFFS):
        raise ValueError(f"a mean recall needs R@{', R@'.join(map(str, CUTOFFS))} of both directions")
    return (sum(image_to_text) + sum(text_to_image)) / (2 * len(CUTOFFS))


Places = Int64
"""Where the right items of one query stand, `[r]` in any order; one that is MISSED or left out was not found."""


def precision(places: Places, k: int) -> float:
    """Share of the first k places that hold a right item; a page of fewer than k items is none the better for it."""
    return len(_found(places, k)) / k


def share_found(places: Places, relevant: int, k: int) -> float:
    """Share of all `relevant` items that are among the first k, 0 where nothing is: trec_eval's recall.

    This is the R@k of information retrieval; papers on image-text retrieval mean `success`.
    """
    return len(_found(places, k)) / relevant if relevant else 0.0


def average_precision(places: Places, relevant: int) -> float:
    """Precision at the place of each of all `relevant` items, averaged; a missed one counts 0: trec_eval's `map`.

    0 where nothing is relevant.
    """
    found = _found(places)
    return float((np.arange(1, len(found) + 1) / found).sum()) / relevant if relevant else 0.0


Gain = Callable[[Float64], Float64]
"""Grades of judgements to what they are worth in nDCG."""


def linear(grades: Float64) -> Float64:
    """Worth what the grade says: Järvelin and Kekäläinen 2002, trec_eval, and `nDCG` of ir_measures."""
    return np.maximum(grades, 0.0)


def exponential(grades: Float64) -> Float64:
    """Worth 2 to the grade, minus 1: Burges et al. 2005, and `nDCG(dcg='exp-log2')` of ir_measures."""
    return np.exp2(np.maximum(grades, 0.0)) - 1


def ndcg(places: Places, relevant: int, k: int) -> float:
    """Discounted gain of the first k, by that of the best order of all `relevant` items, each worth 1.

    0 where nothing is relevant.
    """
    best = np.arange(1, min(relevant, k) + 1)
    return _discounted(1.0, _found(places, k)) / _discounted(1.0, best) if relevant else 0.0


def graded_ndcg(places: Places, grades: Float64, judged: Float64, k: int, *, gain: Gain = linear) -> float:
    """Discounted gain of the first k, by that of the best order that the judgements allow.

    `places [r]` and `grades [r]` belong to the judged items that were ranked, `judged [m]` are all grades of the query.
    A gain at place p is divided by log2(p + 1). 0 where no judgement is worth anything. Raises ValueError where there
    are not as many grades as places.
    """
    if len(places) != len(grades):
        raise ValueError(f"{len(places)} places need as many grades, not {len(grades)}")
    best = np.sort(gain(np.asarray(judged, dtype=np.float64)))[::-1][:k]
    ideal = _discounted(best, np.arange(1, len(best) + 1))
    inside = (places != MISSED) & (places <= k)
    return _discounted(gain(np.asarray(grades, dtype=np.float64))[inside], places[inside]) / ideal if ideal else 0.0


def _discounted(gains: Float64 | float, places: Int64) -> float:
    return float((gains / np.log2(places + 1)).sum())


def _found(places: Places, k: int | None = None) -> Int64:
    """Give the places of what was found among the first k (of all, without a k), best first."""
    found = np.sort(places[places != MISSED])
    return found if k is None else found[found <= k]


@dataclass(frozen=True)
class RecallCurve:
    """Recall at growing depths `k`, by the first stage and after reranking (None without a matcher)."""

    k: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...] | None


def recall_curve(before: Run, after: Run | None, qrels: Qrels) -> RecallCurve:
    """Give recall at 1, 2, 3, 5, 10, 20 and so on, up to the longest page."""
    longest = max((len(page) for page in before.values()), default=0)
    depths = tuple(k for k in DEPTHS if k <= longest)
    return RecallCurve(
        depths,
        tuple(recall_at_k(before, qrels, k) for k in depths),
        None if after is None else tuple(recall_at_k(after, qrels, k) for k in depths),
    )


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Area under the ROC curve: the chance that a positive's score is above a negative's, ties counting half.

    Raises ValueError where one of the two is empty.
    """
    if not positives or not negatives:
        raise ValueError("the area under the ROC curve needs scores of both kinds")
    ordered = np.sort(negatives)
    below, up_to = (np.searchsorted(ordered, positives, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(negatives)))


@dataclass(frozen=True)
class Bin:
    """Predictions that are close to each other: their mean, the share that came true, and their number."""

    confidence: float
    accuracy: float
    count: int


def reliability(probabilities: NDArray[np.float64], outcomes: NDArray[np.float64]) -> list[Bin]:
    """Hold predictions in [0, 1] against outcomes (1 or 0), in equally wide bins; empty ones are left out."""
    places = np.minimum((np.asarray(probabilities) * BINS).astype(np.int64), BINS - 1)
    inside = [places == place for place in range(BINS)]
    return [
        Bin(float(probabilities[one].mean()), float(outcomes[one].mean()), int(one.sum()))
        for one in inside
        if one.any()
    ]


def calibration_error(probabilities: NDArray[np.float64], outcomes: NDArray[np.float64]) -> float:
    """Expected calibration error, in [0, 1]: how far what was predicted lies from what came true, by bins.

    Guo et al. 2017 (arXiv 1706.04599, equation 3), for the probability of one event. Raises ValueError without data.
    """
    if not len(probabilities):
        raise ValueError("a calibration error needs predictions")
    bins = reliability(probabilities, outcomes)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / len(probabilities)
