"""Measures of a run against qrels: pure functions over ranked item ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

Run = Mapping[int, Sequence[int]]
"""Query id to ranked item ids, best first. What a query did not rank counts as missed."""
Qrels = Mapping[int, Collection[int]]
"""Query id to the items that are right."""

CUTOFFS = (1, 5, 10)


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


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Area under the ROC curve: the chance that a positive's score is above a negative's, ties counting half.

    Raises ValueError where one of the two is empty.
    """
    if not positives or not negatives:
        raise ValueError("the area under the ROC curve needs scores of both kinds")
    ordered = np.sort(negatives)
    below, up_to = (np.searchsorted(ordered, positives, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(negatives)))
