"""Calibration on hits that can be counted by hand, and on hits drawn from a known curve."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.calibration import (
    SOFTMAX,
    Isotonic,
    Temperature,
    from_parameters,
    logistic,
    method_of,
    probability,
    to_parameters,
)
from retrieval.errors import TooFewHits
from retrieval.evaluation.calibrating import (
    LEAST_ABOVE,
    PLACES,
    Sample,
    Threshold,
    fit,
    fit_isotonic,
    fit_temperature,
    thresholds,
)
from retrieval.evaluation.measures import Bin, calibration_error, recall_curve, reliability
from retrieval.rerank import Judged
from retrieval.types import Candidate


def page(*margins: float | None) -> list[Judged]:
    """A page of items 1, 2, 3 and so on, with these margins; None is stale."""
    return [Judged(Candidate(i, 0.5, i), margin=margin) for i, margin in enumerate(margins, start=1)]


def drawn(count: int, *, temperature: float, shift: float, seed: int = 0) -> Sample:
    """Pages of one hit each, right as often as a logistic curve says."""
    draw = np.random.default_rng(seed)
    sample = Sample()
    for margin in draw.normal(0, 4, count):
        is_right = draw.random() < 1 / (1 + math.exp(-(margin - shift) / temperature))
        sample.add(page(margin), {1} if is_right else {2})
    return sample


# The sample


def test_a_query_is_asked_of_the_gallery_with_and_without_what_is_right() -> None:
    sample = Sample()
    sample.add(page(3.0, 1.0, -2.0), {1})
    assert sample.margins == [3.0, 1.0, -2.0, 1.0, -2.0]
    assert sample.places == [1, 2, 3, 1, 2]
    assert sample.right == [True, False, False, False, False]


def test_the_page_without_what_is_right_is_filled_up_from_below() -> None:
    sample = Sample()
    sample.add(page(*range(12)), {1, 2})
    assert len(sample.margins) == 2 * PLACES
    assert sample.margins[PLACES:] == list(range(2, 12))


def test_stale_hits_do_not_count_and_queries_are_told_apart() -> None:
    sample = Sample()
    sample.add(page(2.0, None), {1})
    sample.add(page(None, 1.0), {2})
    assert sample.margins == [2.0, 1.0]
    assert sample.queries == [0, 1]


# Curves


def test_without_a_fit_the_probability_is_the_softmax() -> None:
    assert probability(None, 1.0) == pytest.approx(math.exp(2) / (math.exp(1) + math.exp(2)))
    assert (probability(None, 1000.0), probability(None, -1000.0)) == (1.0, 0.0)


def test_a_temperature_stretches_and_shifts_the_softmax() -> None:
    curve = Temperature(temperature=2.0, shift=1.0)
    assert probability(curve, 1.0) == 0.5
    assert probability(curve, 3.0) == pytest.approx(probability(None, 1.0))


def test_an_isotonic_curve_is_straight_between_its_points_and_flat_outside() -> None:
    curve = Isotonic((0.0, 2.0), (0.2, 0.8))
    assert [probability(curve, margin) for margin in (-9.0, 0.0, 1.0, 2.0, 9.0)] == pytest.approx(
        [0.2, 0.2, 0.5, 0.8, 0.8]
    )


@pytest.mark.parametrize("curve", [SOFTMAX, Temperature(1.5, -0.25), Isotonic((0.0, 1.0), (0.25, 0.75))])
def test_a_curve_comes_back_from_json_as_it_was(curve: Temperature | Isotonic) -> None:
    assert from_parameters(method_of(curve), to_parameters(curve)) == curve


def test_a_fit_finds_the_temperature_that_hits_were_drawn_by() -> None:
    sample = drawn(4000, temperature=2.0, shift=1.0)
    first = np.array(sample.places) == 1
    margins, right = np.array(sample.margins)[first], np.array(sample.right, dtype=float)[first]
    # The pages without what is right are empty for right queries and repeat the wrong hit of the others.
    kept = np.unique(np.array(sample.queries)[first], return_index=True)[1]
    curve = fit_temperature(margins[kept], right[kept], np.ones(len(kept)))
    assert curve.temperature == pytest.approx(2.0, rel=0.1)
    assert curve.shift == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(("temperature", "spread"), [(0.25, 4.0), (1.0, 0.5), (3.0, 4.0), (10.0, 4.0), (20.0, 30.0)])
def test_a_temperature_is_found_far_from_one_too(temperature: float, spread: float) -> None:
    draw = np.random.default_rng(3)
    margins = draw.normal(2.0, spread, 8000)
    right = (draw.random(8000) < logistic((margins - 1.0) / temperature)).astype(float)
    curve = fit_temperature(margins, right, np.ones(8000))
    even = np.quantile(margins, [0.1, 0.5, 0.9])
    assert curve.probabilities(even) == pytest.approx(logistic((even - 1.0) / temperature), abs=0.03)


def test_margins_that_say_nothing_give_the_share_of_right_hits() -> None:
    draw = np.random.default_rng(4)
    margins, right = draw.normal(0, 3, 4000), (draw.random(4000) < 0.2).astype(float)
    found = fit_temperature(margins, right, np.ones(4000)).probabilities(np.array([-6.0, 0.0, 6.0]))
    assert found == pytest.approx([0.2] * 3, abs=0.03)
    assert fit_temperature(np.zeros(10), right[:10], np.ones(10)).temperature > 0


def test_a_matcher_that_is_worse_than_chance_keeps_the_order_of_its_hits() -> None:
    margins = np.linspace(-3, 3, 200)
    right = (margins < 0).astype(float)
    low, high = fit_temperature(margins, right, np.ones(200)).probabilities(np.array([-3.0, 3.0]))
    assert low < high


def test_neighbours_that_fall_are_pooled() -> None:
    margins, right = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0, 1.0])
    curve = fit_isotonic(margins, right, np.ones(4))
    assert curve.margins == (0.0, 1.0, 2.0, 3.0)
    # One of two in the middle; at the ends, Laplace's rule makes 1/3 of 0 of 1, and 2/3 of 1 of 1.
    assert curve.values == pytest.approx((1 / 3, 0.5, 0.5, 2 / 3))


def test_equal_margins_get_one_value() -> None:
    curve = fit_isotonic(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0]), np.ones(3))
    assert curve.margins == (0.0, 1.0)
    assert curve.values[0] == pytest.approx(0.5)


def test_the_order_of_equal_margins_does_not_count() -> None:
    margins = np.array([0.0] * 5 + [1.0] * 4)
    right = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    forwards = fit_isotonic(margins, right, np.ones(9))
    assert forwards == fit_isotonic(margins[::-1], right[::-1], np.ones(9))


def test_weights_count_as_repetitions() -> None:
    once = fit_isotonic(np.array([0.0, 0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]), np.ones(4))
    weighed = fit_isotonic(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 2.0, 1.0]))
    assert once.values == pytest.approx(weighed.values)


# The fit


def test_an_overconfident_matcher_is_put_right() -> None:
    fitted = fit(drawn(3000, temperature=3.0, shift=0.0))
    assert fitted.softmax_error > 0.06
    assert fitted.error < fitted.softmax_error / 2
    assert probability(fitted.curve, 4.0) < probability(None, 4.0)


def test_a_matcher_that_is_right_about_itself_keeps_its_softmax() -> None:
    sample = Sample()
    draw = np.random.default_rng(5)
    for _ in range(1000):
        margin = float(draw.normal(0, 4))
        is_right = draw.random() < probability(None, margin)
        sample.queries.append(len(sample.queries))
        sample.places.append(1)
        sample.margins.append(margin)
        sample.right.append(is_right)
    fitted = fit(sample)
    assert fitted.curve == SOFTMAX
    assert fitted.error == fitted.softmax_error


def test_the_errors_are_those_of_queries_that_the_fit_had_not_seen() -> None:
    """Margins that say nothing: a fit that was measured on its own queries would look better than it is."""
    draw = np.random.default_rng(1)
    sample = Sample()
    for _ in range(200):
        sample.add(page(float(draw.normal())), {1} if draw.random() < 0.5 else {2})
    fitted = fit(sample)
    assert fitted.curve != SOFTMAX
    own = fitted.curve.probabilities(np.array(sample.margins))
    assert fitted.error >= calibration_error(own, np.array(sample.right, dtype=float))


def test_too_few_right_hits_are_no_calibration() -> None:
    sample = Sample()
    for _ in range(40):
        sample.add(page(1.0, 0.0), {9})
    with pytest.raises(TooFewHits, match="there were 0 and 160"):
        fit(sample)


# Measures


def test_the_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    # Two predictions of 0.9 of which one came true, and two of 0.1 of which none did: (0.4 + 0.1) / 2.
    error = calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]))
    assert error == pytest.approx(0.25)


def test_a_certain_and_right_prediction_has_no_error() -> None:
    assert calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0.0


def test_the_reliability_diagram_leaves_out_empty_bins() -> None:
    bins = reliability(np.array([0.0, 0.02, 1.0]), np.array([0.0, 1.0, 1.0]))
    assert bins == [Bin(pytest.approx(0.01), 0.5, 2), Bin(1.0, 1.0, 1)]


def test_a_calibration_error_needs_predictions() -> None:
    with pytest.raises(ValueError, match="needs predictions"):
        calibration_error(np.zeros(0), np.zeros(0))


def test_thresholds_say_what_share_of_hits_is_right_and_what_share_is_found() -> None:
    half = LEAST_ABOVE
    probabilities = np.array([0.9] * half + [0.5] * half)
    right = np.array([1.0] * half + [1.0, 0.0] * (half // 2))
    assert thresholds(probabilities, right) == [
        Threshold(0.5, 0.75, 1.0),
        Threshold(0.9, 1.0, pytest.approx(2 / 3)),
    ]


def test_a_threshold_that_only_a_few_hits_reach_is_not_told() -> None:
    probabilities = np.linspace(0, 1, LEAST_ABOVE)
    assert [one.threshold for one in thresholds(probabilities, np.ones(LEAST_ABOVE))] == [0.0]


def test_logistic_does_not_overflow() -> None:
    assert logistic(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


def test_the_recall_curve_ends_with_the_longest_page() -> None:
    before, after = {1: [7, 8, 9]}, {1: [9, 7, 8]}
    curve = recall_curve(before, after, {1: {9}})
    assert (curve.k, curve.before, curve.after) == ((1, 2, 3), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
