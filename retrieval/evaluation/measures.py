"""Measures of a run against qrels: pure functions over ranked item ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
