"""How sure a measure is: bootstrap intervals over queries, and the paired bootstrap between two runs.

Percentile intervals of 95 % after Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3: queries
are drawn again with replacement, as many as there are, and the measure of each draw is noted. What is drawn are
queries, so an interval speaks of other queries to the same gallery. The same seed gives the same interval.

No draw is kept: memory is bounded by NUMBERS_AT_ONCE, not by queries times resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrieval.evaluation.ranks import Float64

RESAMPLES = 1000
"""Draws: enough for the ends of a percentile interval (Efron and Tibshirani 1993, section 13.3)."""
CONFIDENCE = 0.95
NUMBERS_AT_ONCE = 1 << 20
FEW = 256
"""Distinct values up to which it is quicker to draw how often each occurs than to draw queries."""
SAME = 1e-12
"""Two means that differ by less than this share of the values' size are equal but for rounding."""


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % interval, in the unit of the measure."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The mean difference between two runs, its 95 % interval, and how likely chance alone makes one as large (p)."""

    difference: float
    low: float
    high: float
    p: float


def interval(values: Float64, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Give the interval of the mean of values of queries, `float64 [q]`.

    Raises ValueError without values, where one is not finite, and where `resamples` is below 1.
    """
    return _middle(_means(_checked(values, resamples), np.random.default_rng(seed), resamples))


def median_interval(values: Float64, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Give the interval of the median of values of queries, `float64 [q]`; a value may be infinite, as a missed rank.

    Raises ValueError without values, where one is NaN, and where `resamples` is below 1.
    """
    ordered = np.sort(_checked(values, resamples, may_be_infinite=True))
    return _middle(_medians(ordered, np.random.default_rng(seed), resamples))


def paired(before: Float64, after: Float64, *, seed: int = 0, resamples: int = RESAMPLES) -> Paired:
    """Compare two runs over the same queries: the mean of after - before, both `float64 [q]` in the same order.

    p is two-sided, from the bootstrap of the centred differences: drawn from a world in which there is none (Efron and
    Tibshirani 1993, section 16.4; for retrieval Smucker, Allan and Carterette 2007), how often is the mean as far
    from 0 as ours? The draw that we observed counts as one (Davison and Hinkley 1997, section 4.2), so p is never 0.
    The interval is of the differences as they are, so near 0.05 the two may disagree.

    Raises ValueError where the runs differ in length, and otherwise as `interval` does.
    """
    before, after = _checked(before, resamples), _checked(after, resamples)
    if len(before) != len(after):
        raise ValueError(f"runs of {len(before)} and {len(after)} queries cannot be paired: both need the same queries")
    differences = after - before
    observed = float(differences.mean())
    means = _means(differences, np.random.default_rng(seed), resamples)
    rounding = SAME * float(np.abs(differences).max())
    as_far = int((np.abs(means - observed) >= abs(observed) - rounding).sum())
    ends = _middle(means)
    return Paired(observed, ends.low, ends.high, (as_far + 1) / (resamples + 1))


def _means(values: Float64, draw: np.random.Generator, resamples: int) -> Float64:
    """Give the mean of every draw: `float64 [resamples]`."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= FEW:
        # A draw of n queries is n independent picks of a value by its share, so how often each value occurs is
        # multinomial: of hits and misses, binomial. Nothing else of a draw enters its mean.
        return np.asarray(draw.multinomial(len(values), counts / len(values), size=resamples) @ distinct / len(values))
    rows = max(1, NUMBERS_AT_ONCE // len(values))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([values[draw.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in sizes])


def _medians(ordered: Float64, draw: np.random.Generator, resamples: int) -> Float64:
    """Give the median of every draw from values in order: `float64 [resamples]`.

    A draw of n queries is n uniform numbers in [0, 1), each picking the value at n times itself. The picks keep the
    numbers' order, so the middle pick belongs to the middle number, and that follows a beta law; so does the next one
    above it, in what is left (David and Nagaraja, Order Statistics, 2003, sections 2.1 and 2.5).
    """
    n = len(ordered)
    lower = (n + 1) // 2
    middle = draw.beta(lower, n - lower + 1, size=resamples)
    if n % 2:
        return _at(ordered, middle)
    above = middle + (1 - middle) * draw.beta(1, n - lower, size=resamples)
    return (_at(ordered, middle) + _at(ordered, above)) / 2


def _at(ordered: Float64, uniform: Float64) -> Float64:
    return ordered[np.minimum((uniform * len(ordered)).astype(np.int64), len(ordered) - 1)]


def _middle(measured: Float64) -> Interval:
    """Cut the same share of draws from both ends. Ends are draws: between finite and infinite nothing lies halfway."""
    ordered, cut = np.sort(measured), len(measured) * (1 - CONFIDENCE) / 2
    # Rounded before it is rounded up: 1000 * 0.975 must not become the 976th for want of the last bit.
    low, high = (int(np.ceil(round(place, 6))) for place in (cut, len(measured) - cut))
    return Interval(float(ordered[max(low, 1) - 1]), float(ordered[high - 1]))


def _checked(values: Float64, resamples: int, *, may_be_infinite: bool = False) -> Float64:
    values = np.asarray(values, dtype=np.float64)
    if resamples < 1:
        raise ValueError(f"an interval needs at least 1 resample, not {resamples}")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"an interval needs one value per query, not an array of shape {list(values.shape)}")
    if np.isnan(values).any() or not (may_be_infinite or np.isfinite(values).all()):
        raise ValueError(f"an interval needs {'values that are not NaN' if may_be_infinite else 'finite values'}")
    return values
