"""Bootstrap intervals: known laws, brute force, and the ends of the scale."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation.intervals import Interval, Paired, interval, median_interval, paired
from retrieval.evaluation.ranks import Float64

HALF = np.repeat([0.0, 1.0], 50)


def spread(found: Interval) -> float:
    return found.high - found.low


def test_the_interval_of_a_share_is_that_of_the_binomial_law() -> None:
    # 100 queries, half of them hits: 1.96 standard errors of 5 points to either side, in steps of a point.
    found = interval(HALF, resamples=20_000)
    assert (found.low, found.high) == pytest.approx((0.40, 0.60), abs=0.011)


def test_many_distinct_values_have_the_interval_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(3, 2, size=2000)
    error = values.std() / np.sqrt(2000)
    found = interval(values, resamples=4000)
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=error / 8
    )


def test_drawing_counts_and_drawing_queries_are_of_one_law() -> None:
    values = np.random.default_rng(2).integers(0, 200, size=3000) / 7
    # Noise far below the values makes each of them distinct, and so goes the other way.
    noisy = values + np.arange(3000) * 1e-12
    counted, drawn = interval(values, resamples=8000), interval(noisy, resamples=8000)
    assert (counted.low, counted.high) == pytest.approx((drawn.low, drawn.high), abs=0.05 * spread(drawn))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 41])
def test_the_median_of_draws_has_the_law_of_brute_force(n: int) -> None:
    values = np.random.default_rng(n).integers(1, 30, size=n).astype(np.float64)
    draw = np.random.default_rng(0)
    medians = np.sort(np.median(values[draw.integers(n, size=(20_000, n))], axis=1))
    found = median_interval(values, resamples=20_000)
    # Ends are of a law in steps: so close to 2.5 % that either neighbouring step would be an end.
    assert medians[[400, 600]].min() <= found.low <= medians[[400, 600]].max()
    assert medians[[19_400, 19_600]].min() <= found.high <= medians[[19_400, 19_600]].max()


def test_the_interval_of_the_median_does_not_depend_on_the_order_of_queries() -> None:
    values = np.arange(101.0)
    assert median_interval(values) == median_interval(values[::-1])


def test_missed_queries_may_put_the_end_of_a_median_at_infinity() -> None:
    ranks = np.where(np.arange(101) < 52, 3.0, np.inf)
    found = median_interval(ranks)
    assert found == Interval(3.0, np.inf)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    values = np.random.default_rng(0).random(50)
    assert interval(values, seed=1) == interval(values, seed=1) != interval(values, seed=2)


def test_values_that_are_all_equal_have_an_interval_without_width() -> None:
    assert interval(np.ones(10)) == Interval(1.0, 1.0)
    assert median_interval(np.full(10, 4.0)) == Interval(4.0, 4.0)


def test_four_times_the_queries_halve_the_interval() -> None:
    few, many = (interval(np.tile([0.0, 1.0], n), resamples=20_000) for n in (200, 800))
    assert spread(few) == pytest.approx(2 * spread(many), rel=0.1)


def test_95_of_100_intervals_hold_the_truth() -> None:
    draw = np.random.default_rng(5)
    held = 0
    for seed in range(400):
        found = interval((draw.random(300) < 0.7).astype(np.float64), seed=seed, resamples=400)
        held += found.low <= 0.7 <= found.high
    assert 0.91 <= held / 400 <= 0.98


def test_a_run_against_itself_differs_in_nothing() -> None:
    assert paired(HALF, HALF) == Paired(0.0, 0.0, 0.0, 1.0)


def test_a_difference_that_no_draw_reaches_is_still_not_impossible() -> None:
    before = np.zeros(50)
    after = np.r_[np.ones(45), np.zeros(5)]
    found = paired(before, after)
    assert found.p == 1 / 1001
    assert found.low < found.difference == 0.9 < found.high


def test_runs_that_change_places_turn_the_difference_around() -> None:
    draw = np.random.default_rng(3)
    before, after = draw.random(40), draw.random(40)
    there, back = paired(before, after), paired(after, before)
    assert there.difference == -back.difference
    assert there.p == pytest.approx(back.p, abs=0.05)


def test_two_flips_against_one_are_as_good_as_chance() -> None:
    # Of ten queries one was lost and two were won: 0.1 is reached by most draws of a world without a difference.
    before = np.array([1.0, 0, 0, *[1] * 7])
    after = np.array([0.0, 1, 1, *[1] * 7])
    found = paired(before, after)
    assert found.difference == pytest.approx(0.1)
    assert found.low < 0 < found.high
    assert found.p > 0.5


def test_p_is_uniform_where_there_is_no_difference() -> None:
    draw = np.random.default_rng(7)
    found: Float64 = np.array([paired(*draw.normal(size=(2, 60)), seed=seed, resamples=200).p for seed in range(400)])
    assert (found <= 0.05).mean() == pytest.approx(0.05, abs=0.035)
    assert found.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], r"one value per query, not an array of shape \[0\]"),
        ([[1.0]], r"one value per query, not an array of shape \[1, 1\]"),
        ([np.nan], "finite values"),
        ([np.inf], "finite values"),
    ],
)
def test_an_interval_needs_values(values: list[float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        interval(np.array(values))


def test_a_median_takes_no_nan() -> None:
    with pytest.raises(ValueError, match="not NaN"):
        median_interval(np.array([1.0, np.nan]))


def test_an_interval_needs_a_resample() -> None:
    with pytest.raises(ValueError, match="at least 1 resample, not 0"):
        interval(HALF, resamples=0)


def test_runs_over_different_queries_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="runs of 100 and 99 queries cannot be paired"):
        paired(HALF, HALF[1:])
