"""Fits a calibration to the pages of an evaluation, and measures it on queries that it was not fitted on.

Every query is asked twice: of the gallery as it is, and of the gallery without what is right, because people also ask
for what is not there. The hits of both pages are the sample. The first hit decides whether anything matches, so it
weighs as much as all others of its page together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval.calibration import SOFTMAX, Curve, Float64, Isotonic, Temperature, logistic
from retrieval.errors import TooFewHits
from retrieval.evaluation.measures import Bin, calibration_error, reliability
from retrieval.rerank import Judged

PLACES = 10
"""Hits of a page that count."""
FOLDS = 5
LEAST = 20
"""Right hits, and wrong ones, without which a curve would be drawn from nothing."""
LEAST_ABOVE = 20
"""Hits above a threshold, without which its precision would be a guess."""
STEPS = 100
"""Newton steps at most: a temperature settles in about eight."""
SETTLED = 1e-9
LEAST_SLOPE = 1e-3

Fit = Callable[[Float64, Float64, Float64], Curve]
"""Margins, what is right (1) or wrong (0), and weights to a curve."""


@dataclass
class Sample:
    """Hits of pages, one row each: the page's query, the place on the page, the margin, and whether it is right."""

    queries: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def add(self, page: Sequence[Judged], right: Collection[int]) -> None:
        """Take in a query's page as the matcher ordered it, with all that is right and without."""
        number = self.queries[-1] + 1 if self.queries else 0
        judged = [one for one in page if one.margin is not None]
        for hits in (judged, [one for one in judged if one.candidate.item_id not in right]):
            for place, one in enumerate(hits[:PLACES], start=1):
                assert one.margin is not None
                self.queries.append(number)
                self.places.append(place)
                self.margins.append(one.margin)
                self.right.append(one.candidate.item_id in right)


@dataclass(frozen=True)
class Threshold:
    """A match probability, and what is gained by showing only hits that reach it.

    `precision` is the share of right hits among those shown, `recall` the share of right hits that are shown.
    """

    threshold: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Fitted:
    """A curve and what was measured of it by cross-validation over queries: errors in [0, 1].

    `error` is the expected calibration error over all hits, `first_error` over the first hits of pages;
    `softmax_error` and `softmax_first_error` are those of the softmax on the same hits. `bins` is the reliability
    diagram of the first hits.
    """

    curve: Curve
    queries: int
    hits: int
    error: float
    first_error: float
    softmax_error: float
    softmax_first_error: float
    bins: tuple[Bin, ...]
    thresholds: tuple[Threshold, ...]


def fit(sample: Sample) -> Fitted:
    """Fit both kinds of curve and keep the one that predicts unseen queries better; raises TooFewHits.

    The softmax itself is kept where neither is better beyond doubt (two standard errors over queries): a fit holds for
    texts like those it was made of, so it has to be worth it.
    """
    margins = np.array(sample.margins, dtype=np.float64)
    right = np.array(sample.right, dtype=np.float64)
    queries, places = np.array(sample.queries), np.array(sample.places)
    few = int(min(right.sum(), (1 - right).sum()))
    if few < LEAST:
        raise TooFewHits(int(right.sum()), int((1 - right).sum()), LEAST)
    weights = np.where(places == 1, 1.0, 1.0 / (PLACES - 1))
    make, given = _best(margins, right, weights, queries)
    raw, first = logistic(margins), places == 1
    return Fitted(
        curve=make(margins, right, weights),
        queries=len(np.unique(queries)),
        hits=len(margins),
        error=calibration_error(given, right),
        first_error=calibration_error(given[first], right[first]),
        softmax_error=calibration_error(raw, right),
        softmax_first_error=calibration_error(raw[first], right[first]),
        bins=tuple(reliability(given[first], right[first])),
        thresholds=tuple(thresholds(given, right)),
    )


def keep_softmax(margins: Float64, right: Float64, weights: Float64) -> Temperature:
    """Fit nothing: the softmax as the authors read it."""
    return SOFTMAX


def fit_temperature(margins: Float64, right: Float64, weights: Float64) -> Temperature:
    """Fit the logistic curve by the greatest likelihood, targets drawn in as Platt did (1999).

    Newton's method on standardised margins; a step that raises the loss is halved, as Lin et al. (2007) found needed.
    """
    total, positive = weights.sum(), (weights * right).sum()
    targets = np.where(right > 0, (positive + 1) / (positive + 2), 1 / (total - positive + 2))
    middle = np.average(margins, weights=weights)
    spread = float(np.sqrt(np.average((margins - middle) ** 2, weights=weights))) or 1.0
    slope, offset = _newton((margins - middle) / spread, targets, weights) / (spread, 1.0)
    if slope < LEAST_SLOPE:
        # A matcher that is no better than chance, or worse, must not turn the order of its own hits around.
        slope, offset = LEAST_SLOPE, float(np.log(positive + 1) - np.log(total - positive + 1))
    return Temperature(temperature=float(1 / slope), shift=float(middle - offset / slope))


def _newton(margins: Float64, targets: Float64, weights: Float64) -> Float64:
    """Find slope and offset of a logistic curve, `float64 [2]`, for standardised margins."""
    design = np.stack([margins, np.ones_like(margins)], axis=1)

    def loss(found: Float64) -> float:
        scores = design @ found
        return float((weights * (np.logaddexp(0, scores) - targets * scores)).sum())

    found = np.array([1.0, 0.0])
    for _ in range(STEPS):
        now = logistic(design @ found)
        gradient = design.T @ (weights * (now - targets))
        curvature = design.T @ (design * (weights * now * (1 - now))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(found - step) > loss(found) and np.abs(step).max() > SETTLED:
            step = step / 2
        found = found - step
        if np.abs(step).max() <= SETTLED:
            break
    return found


def fit_isotonic(margins: Float64, right: Float64, weights: Float64) -> Isotonic:
    """Fit the rising step curve of the least squared error, by pooling neighbours that fall (Ayer et al. 1955).

    The first and the last pool are drawn in by Laplace's rule: 3 right hits of 3 are no certainty.
    """
    levels, places, counts = np.unique(margins, return_inverse=True, return_counts=True)
    weighed, found = np.bincount(places, weights), np.bincount(places, weights * right)
    pools: list[_Pool] = []
    for level, weight, share, count in zip(levels.tolist(), weighed, found, counts, strict=True):
        pools.append(_Pool(level, level, float(weight), float(share), int(count)))
        while len(pools) > 1 and pools[-2].is_no_worse_than(pools[-1]):
            last = pools.pop()
            pools[-1] = pools[-1].joined(last)
    values = [pool.right / pool.weight for pool in pools]
    if len(pools) > 1:
        values[0] = min(values[1], max(values[0], 1 / (pools[0].count + 2)))
        values[-1] = max(values[-2], min(values[-1], 1 - 1 / (pools[-1].count + 2)))
    ends = [(pool.low, pool.high) for pool in pools]
    points = [(margin, value) for pair, value in zip(ends, values, strict=True) for margin in dict.fromkeys(pair)]
    return Isotonic(tuple(margin for margin, _ in points), tuple(value for _, value in points))


def thresholds(probabilities: Float64, right: Float64, *, most: int = 60) -> list[Threshold]:
    """Say for rising thresholds what precision and recall they give; at most so many, spread over the hits."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, found = probabilities[order], np.cumsum(right[order])
    # Hits of one probability come or go together: a threshold stands at the last of them.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    ends = ends[ends + 1 >= LEAST_ABOVE]
    # Where nothing right is left to be found, a lower threshold has nothing to give.
    ends = ends[: np.searchsorted(found[ends], found[-1]) + 1]
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, most).round().astype(int))] if len(ends) else ends
    return [
        Threshold(float(ranked[end]), float(found[end] / (end + 1)), float(found[end] / found[-1]))
        for end in chosen[::-1]
    ]


@dataclass(frozen=True)
class _Pool:
    """Neighbouring hits of one value: their span of margins, their weight and that of the right ones, their number."""

    low: float
    high: float
    weight: float
    right: float
    count: int

    def is_no_worse_than(self, above: _Pool) -> bool:
        """Whether the pool above must be joined, because the curve would not rise."""
        return self.right * above.weight >= above.right * self.weight

    def joined(self, other: _Pool) -> _Pool:
        return _Pool(
            self.low, other.high, self.weight + other.weight, self.right + other.right, self.count + other.count
        )


def _best(margins: Float64, right: Float64, weights: Float64, queries: NDArray[np.int64]) -> tuple[Fit, Float64]:
    """Choose a kind of curve, and give what it said of hits whose queries it had not seen."""
    kinds: tuple[Fit, ...] = (fit_temperature, fit_isotonic)
    unseen = [_unseen(make, margins, right, weights, queries) for make in kinds]
    losses = [_losses(predicted, right, weights, queries) for predicted in unseen]
    best = int(np.argmin([loss.mean() for loss in losses]))
    raw = logistic(margins)
    gained = _losses(raw, right, weights, queries) - losses[best]
    if gained.mean() > 2 * gained.std() / np.sqrt(len(gained)):
        return kinds[best], unseen[best]
    return keep_softmax, raw


def _unseen(make: Fit, margins: Float64, right: Float64, weights: Float64, queries: NDArray[np.int64]) -> Float64:
    """Predict every hit by a curve that was fitted without the queries of its fold."""
    predicted = np.zeros(len(margins))
    for number in range(FOLDS):
        held = queries % FOLDS == number
        predicted[held] = make(margins[~held], right[~held], weights[~held]).probabilities(margins[held])
    return predicted


def _losses(predicted: Float64, right: Float64, weights: Float64, queries: NDArray[np.int64]) -> Float64:
    """The surprise of what came out (log loss), by query: the sum over its hits, by weight."""
    sure = np.clip(predicted, 1e-6, 1 - 1e-6)
    surprise = -np.log(np.where(right > 0, sure, 1 - sure))
    return np.bincount(np.unique(queries, return_inverse=True)[1], weights * surprise).astype(np.float64)
