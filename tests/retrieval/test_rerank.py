"""The second stage: the authors' score, stale pictures last, ties as the first stage had them."""

from __future__ import annotations

import numpy as np

from retrieval.models.checkpoints import Scoring
from retrieval.rerank import Judged, margin_of, order, score_of, unjudged
from retrieval.types import Candidate

A, B, C = Candidate(1, 0.9, 1), Candidate(2, 0.8, 2), Candidate(3, 0.7, 3)


def judged(candidate: Candidate, logit: float, scoring: Scoring = "itm+itc") -> Judged:
    return Judged(candidate, logit=logit, score=score_of(logit, 2 * logit, candidate.similarity, scoring))


def test_the_order_is_by_match_logit_plus_similarity() -> None:
    three = [judged(A, 0.0), judged(B, 0.15), judged(C, 0.35)]
    assert [one.candidate.item_id for one in order(three)] == [3, 2, 1]
    assert [one.candidate.item_id for one in order([judged(A, 0.0), judged(C, 0.19)])] == [1, 3]


def test_albef_s_order_is_by_the_match_logit_alone() -> None:
    page = [judged(A, 0.0, "itm"), judged(B, 0.05, "itm"), judged(C, 0.04, "itm")]
    assert [one.candidate.item_id for one in order(page)] == [2, 3, 1]


def test_a_score_is_the_logit_the_sum_the_softmax_or_the_cosine() -> None:
    scorings: tuple[Scoring, ...] = ("itm", "itm+itc", "itm-probability", "itc")
    assert [score_of(1.5, 0.0, 0.25, scoring) for scoring in scorings] == [1.5, 1.75, 0.5, 0.25]


def test_a_stale_picture_keeps_null_scores_and_comes_last() -> None:
    page = order([Judged(A, stale=True), judged(B, -9.0)])
    assert [one.candidate.item_id for one in page] == [2, 1]
    assert page[1].logit is None


def test_without_a_matcher_the_order_is_the_first_stage_s() -> None:
    assert [one.candidate.rank for one in unjudged([A, B, C])] == [1, 2, 3]


def test_equal_scores_keep_the_order_of_the_first_stage() -> None:
    twin = Candidate(9, 0.9, 2)
    assert [one.candidate.item_id for one in order([judged(twin, 1.0), judged(A, 1.0)])] == [1, 9]


def test_the_margin_is_how_far_the_match_logit_lies_above_the_other() -> None:
    assert margin_of(np.array([1.5, 2.0], dtype=np.float32)) == 0.5
