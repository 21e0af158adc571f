"""Recall against judgements that can be counted by hand, and measures of ranks that can be worked out by hand."""

from __future__ import annotations

from math import inf, log2

import numpy as np
import pytest

from retrieval.evaluation.measures import (
    auroc,
    average_precision,
    exponential,
    graded_ndcg,
    mean_recall,
    median_rank,
    ndcg,
    precision,
    recall_at_k,
    recalls,
    reciprocal_rank,
    share_found,
    success,
)
from retrieval.evaluation.ranks import MISSED, Int64

QRELS = {1: {10}, 2: {20, 21}, 3: {30}, 4: {40}}
RUN = {1: [10, 11], 2: [22, 23, 21], 3: [31, 32]}


def test_recall_at_1_counts_queries_whose_first_item_is_right() -> None:
    assert recall_at_k(RUN, QRELS, 1) == 0.25


def test_any_right_item_among_k_counts_once() -> None:
    assert recall_at_k(RUN, QRELS, 3) == 0.5


def test_a_query_without_hits_counts_as_missed() -> None:
    assert recall_at_k({}, QRELS, 10) == 0.0


def test_the_usual_cut_offs_have_names() -> None:
    assert recalls(RUN, QRELS) == {"recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.5}


def test_the_area_under_the_curve_counts_pairs_that_are_in_order() -> None:
    assert auroc([0.9, 0.4], [0.1, 0.5]) == 0.75


def test_a_tie_counts_half() -> None:
    assert auroc([0.5, 0.5], [0.5]) == 0.5
    assert auroc([0.5, 0.7], [0.5]) == 0.75


def test_perfect_and_reversed_orders_are_the_ends_of_the_scale() -> None:
    assert (auroc([3, 2], [1, 0]), auroc([0, 1], [2, 3])) == (1.0, 0.0)


def test_an_area_needs_scores_of_both_kinds() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        auroc([], [0.5])


RANKS = np.array([1, 4, MISSED, 2])


def at(*places: int) -> Int64:
    return np.array(places, dtype=np.int64)


def test_a_missed_query_is_no_success_at_any_depth() -> None:
    assert success(RANKS, 1).tolist() == [1, 0, 0, 0]
    assert success(RANKS, 1000).tolist() == [1, 1, 0, 1]


def test_the_reciprocal_of_a_missed_rank_is_0() -> None:
    assert reciprocal_rank(RANKS).tolist() == [1, 0.25, 0, 0.5]


def test_a_missed_query_is_worse_than_any_rank() -> None:
    assert median_rank(RANKS) == 3
    assert median_rank(at(1, 900, MISSED)) == 900
    assert median_rank(at(1, MISSED, MISSED)) == inf
    assert median_rank(at(1, MISSED)) == inf


def test_a_median_rank_needs_queries() -> None:
    with pytest.raises(ValueError, match="needs queries"):
        median_rank(at())


def test_the_mean_recall_averages_six_numbers() -> None:
    assert mean_recall([60, 80, 100], [30, 60, 90]) == 70
    with pytest.raises(ValueError, match="R@1, R@5, R@10 of both directions"):
        mean_recall([60, 80], [30, 60, 90])


def test_precision_divides_by_k_however_short_the_page() -> None:
    assert precision(at(1, 3, 7), 5) == 0.4
    assert precision(at(), 5) == 0


def test_the_share_found_counts_every_right_item() -> None:
    assert share_found(at(1, 3, 7), 4, 5) == 0.5
    assert share_found(at(1, 3, 7), 4, 7) == 0.75
    assert share_found(at(), 0, 5) == 0


def test_average_precision_is_averaged_over_all_that_is_relevant() -> None:
    # Right at 1, 3 and 4 of four relevant items: 1/1, 2/3 and 3/4, and 0 for the one that was not found.
    assert average_precision(at(1, 3, 4), 4) == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert average_precision(at(), 0) == 0


def test_places_may_come_in_any_order_and_missed_ones_do_not_count() -> None:
    assert average_precision(at(4, MISSED, 1, 3), 4) == average_precision(at(1, 3, 4), 4)
    assert precision(at(MISSED, 2), 5) == 0.2
    assert ndcg(at(3, MISSED, 1), 3, 10) == ndcg(at(1, 3), 3, 10)


def test_ndcg_discounts_by_the_logarithm_of_the_place() -> None:
    assert ndcg(at(1), 1, 10) == 1
    assert ndcg(at(3), 1, 10) == pytest.approx(1 / log2(4))
    assert ndcg(at(2, 4), 3, 10) == pytest.approx((1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / log2(4)))


def test_the_best_order_of_ndcg_ends_at_k_too() -> None:
    assert ndcg(at(1, 2), 5, 2) == 1
    assert ndcg(at(3), 5, 2) == 0
    assert ndcg(at(), 0, 10) == 0


def test_graded_ndcg_weighs_by_the_grade() -> None:
    ideal = 3 + 1 / log2(3)
    assert graded_ndcg(at(1, 2), np.array([1.0, 3.0]), np.array([0, 3.0, 1.0]), 10) == pytest.approx(
        (1 + 3 / log2(3)) / ideal
    )


def test_an_exponential_gain_prefers_high_grades() -> None:
    found = graded_ndcg(at(1, 2), np.array([1.0, 3.0]), np.array([3.0, 1.0]), 10, gain=exponential)
    assert found == pytest.approx((1 + 7 / log2(3)) / (7 + 1 / log2(3)))


def test_a_grade_below_0_is_worth_nothing() -> None:
    assert graded_ndcg(at(1, 2), np.array([-2.0, 1.0]), np.array([-2.0, 1.0]), 10) == pytest.approx(1 / log2(3))
    assert graded_ndcg(at(1), np.array([-2.0]), np.array([-2.0]), 10, gain=exponential) == 0


def test_equal_grades_give_what_binary_judgements_give() -> None:
    places = at(2, 5, 11)
    assert graded_ndcg(places, np.ones(3), np.ones(4), 10) == pytest.approx(ndcg(places, 4, 10))


def test_every_place_has_a_grade() -> None:
    with pytest.raises(ValueError, match="2 places need as many grades, not 1"):
        graded_ndcg(at(1, 2), np.ones(1), np.ones(2), 10)
