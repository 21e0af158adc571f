"""The second stage: the authors' score, stale pictures last, ties as the first stage had them."""

from __future__ import annotations

import math

from retrieval.rerank import Judged, order, unjudged
from retrieval.types import Candidate

A, B, C = Candidate(1, 0.9, 1), Candidate(2, 0.8, 2), Candidate(3, 0.7, 3)


def test_the_order_is_by_match_logit_plus_similarity() -> None:
    judged = [Judged(A, logit=0.0), Judged(B, logit=0.15), Judged(C, logit=0.35)]
    assert [one.candidate.item_id for one in order(judged)] == [3, 2, 1]
    assert [one.candidate.item_id for one in order([Judged(A, logit=0.0), Judged(C, logit=0.19)])] == [1, 3]


def test_a_stale_picture_keeps_null_scores_and_comes_last() -> None:
    judged = order([Judged(A, stale=True), Judged(B, logit=-9.0)])
    assert [one.candidate.item_id for one in judged] == [2, 1]
    assert judged[1].logit is None


def test_without_a_matcher_the_order_is_the_first_stage_s() -> None:
    assert [one.candidate.rank for one in unjudged([A, B, C])] == [1, 2, 3]


def test_equal_scores_keep_the_order_of_the_first_stage() -> None:
    twin = Candidate(9, 0.9, 2)
    assert [one.candidate.item_id for one in order([Judged(twin, logit=1.0), Judged(A, logit=1.0)])] == [1, 9]


def test_the_match_probability_is_the_softmax_of_both_logits() -> None:
    import numpy as np

    from retrieval.rerank import _judge

    judged = _judge(A, np.array([1.0, 2.0], dtype=np.float32))
    assert judged.match_probability is not None
    assert math.isclose(judged.match_probability, math.exp(2) / (math.exp(1) + math.exp(2)), rel_tol=1e-6)
    extreme = _judge(A, np.array([-500.0, 500.0], dtype=np.float32))
    assert extreme.match_probability == 1.0
