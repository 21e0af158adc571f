"""Recall against judgements that can be counted by hand."""

from __future__ import annotations

import pytest

from retrieval.evaluation.measures import auroc, recall_at_k, recalls

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
