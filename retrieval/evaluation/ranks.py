"""Places of right items in scored lists: the one home of the tie rule.

Equal scores are resolved against the claim: a wrong item stands before every right item of the same score. A scorer
that cannot tell items apart therefore gains nothing, and a constant one finds each query's item last.

Places count from 1. MISSED (0) is the place of what was not ranked. A NaN is no score: a right item of that score
stands behind everything, a wrong one before everything, so no NaN ever helps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.bool_] | NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
"""Scores of any real type, greater is better."""
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Right = NDArray[np.bool_]
"""Which items are right, in the shape of the scores."""
Ranks = Int64 | Float64
"""The place of each query's best right item."""

MISSED = 0
"""The place of an item that was not ranked, and the rank of a query none of whose right items was."""


def first_right(scores: Scores, right: Right) -> int:
    """Give the place of the best right item of one query, MISSED where none is right; both arrays are `[n]`.

    Raises ValueError where the shapes differ or right is not bool, as all functions here do.
    """
    return int(first_rights(_checked(scores, right, 1)[None], right[None])[0])


def first_rights(scores: Scores, right: Right) -> Int64:
    """Give the place of the best right item of each query: scores and right `[q, n]` to `int64 [q]`.

    It is 1 + the number of wrong items whose score is not below the best right one. Works beside the block with two
    masks of its shape, so whoever has a large matrix hands in some rows at a time.
    """
    _checked(scores, right, 2)
    # fmax passes over NaN, where max would answer it.
    best = np.fmax.reduce(scores, axis=1, where=right, initial=_lowest(scores), keepdims=True)
    ahead = (~right & ~(scores < best)).sum(axis=1)
    return np.where(right.any(axis=1), 1 + ahead, MISSED).astype(np.int64)


def right_places(scores: Scores, right: Right) -> Int64:
    """Give the places of all r right items of one query, best first: scores and right `[n]` to `int64 [r]`.

    The j-th best right item stands behind j - 1 right ones and behind every wrong one whose score is not below its own.
    """
    _checked(scores, right, 1)
    ours = np.sort(_without_hope(scores, right)[right])[::-1]
    # A NaN is sorted behind the greatest number, so it counts as ahead of everything.
    others = np.sort(scores[~right])
    ahead = len(others) - np.searchsorted(others, ours, side="left")
    return (np.arange(1, len(ours) + 1) + ahead).astype(np.int64)


def authors_first_right(scores: Scores, right: Right) -> int:
    """Give the place of the best right item in `np.argsort(scores)[::-1]`, MISSED where none is right; both are `[n]`.

    So rank `itm_eval` of salesforce/ALBEF (Retrieval.py), BLIP (train_retrieval.py) and LAVIS (retrieval.py of its
    tasks). The sort is unstable: which of two equal scores comes first depends on their positions, their type and on
    the processor that numpy finds. Give the scores in the authors' own type, which is float32.

    The authors' sort puts NaN first. Here a NaN is no hit: that of a right item counts as minus infinity.
    """
    _checked(scores, right, 1)
    order = np.argsort(_without_hope(scores, right))[::-1]
    return int(np.argmax(right[order])) + 1 if right.any() else MISSED


def authors_first_rights(scores: Scores, right: Right) -> Int64:
    """Do what `authors_first_right` does for each query: scores and right `[q, n]` to `int64 [q]`."""
    _checked(scores, right, 2)
    return np.array([authors_first_right(*row) for row in zip(scores, right, strict=True)], dtype=np.int64)


def missed_as_infinite(ranks: Ranks) -> Float64:
    """Turn ranks into numbers that can be compared and divided by: `[q]` to `float64 [q]`, MISSED to infinity."""
    return np.where(ranks == MISSED, np.inf, ranks)


def _without_hope(scores: Scores, right: Right) -> Scores:
    """Take NaN as minus infinity where the item is right."""
    if not np.issubdtype(scores.dtype, np.inexact):
        return scores
    return np.where(right & np.isnan(scores), scores.dtype.type(-np.inf), scores)


def _lowest(scores: Scores) -> float | int | bool:
    """Give a score that is above none of its type."""
    if np.issubdtype(scores.dtype, np.floating):
        return -np.inf
    return False if scores.dtype == np.bool_ else int(np.iinfo(str(scores.dtype)).min)


def _checked(scores: Scores, right: Right, dimensions: int) -> Scores:
    if scores.shape != right.shape or scores.ndim != dimensions:
        raise ValueError(
            f"scores {list(scores.shape)} and right {list(right.shape)} must have one shape of {dimensions} dimensions"
        )
    if right.dtype != np.bool_:
        raise ValueError(f"right must be bool, not {right.dtype}")
    return scores
