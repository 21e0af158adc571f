"""Places under the tie rule, against orders that can be read off, and against brute force where scores are few."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.evaluation.ranks import (
    MISSED,
    Float64,
    Int64,
    Right,
    Scores,
    authors_first_right,
    authors_first_rights,
    first_right,
    first_rights,
    missed_as_infinite,
    right_places,
)

NAN, INF = np.nan, np.inf


def scored(*scores: float) -> Float64:
    return np.array(scores, dtype=np.float64)


def right_at(places: set[int], n: int) -> Right:
    return np.array([i in places for i in range(n)], dtype=bool)


def slowly(scores: Float64, right: Right) -> list[int]:
    """Places of right items by the words of the rule: sort by score, and wrong before right at the same score."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], right[i]))
    return [place for place, i in enumerate(order, start=1) if right[i]]


def test_the_rank_counts_better_items() -> None:
    assert first_right(scored(0.1, 0.9, 0.5, 0.7), right_at({2}, 4)) == 3


def test_of_several_right_items_the_best_counts() -> None:
    assert first_right(scored(0.1, 0.9, 0.5, 0.7), right_at({0, 3}, 4)) == 2


def test_a_wrong_item_of_the_same_score_stands_before() -> None:
    assert first_right(scored(0.5, 0.5, 0.5, 0.1), right_at({1}, 4)) == 3


def test_right_items_of_the_same_score_do_not_stand_before_each_other() -> None:
    assert first_right(scored(0.5, 0.5, 0.5), right_at({0, 1}, 3)) == 2
    assert right_places(scored(0.5, 0.5, 0.5), right_at({0, 1}, 3)).tolist() == [2, 3]


def test_a_constant_scorer_finds_its_item_last() -> None:
    assert first_rights(np.zeros((4, 4)), np.eye(4, dtype=bool)).tolist() == [4, 4, 4, 4]


def test_a_query_without_a_right_item_is_missed() -> None:
    nothing = right_at(set(), 2)
    assert first_right(scored(1, 2), nothing) == MISSED
    assert authors_first_right(scored(1, 2), nothing) == MISSED
    assert right_places(scored(1, 2), nothing).tolist() == []
    assert first_right(scored(), right_at(set(), 0)) == MISSED


def test_all_right_items_have_a_place() -> None:
    scores = scored(0.9, 0.8, 0.8, 0.3, 0.3, 0.1)
    assert right_places(scores, right_at({1, 4, 5}, 6)).tolist() == [3, 5, 6]


@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_those_of_brute_force_where_ties_are_many(seed: int) -> None:
    draw = np.random.default_rng(seed)
    q, n = draw.integers(1, 12, size=2)
    scores = draw.choice([-INF, -100.0, 0.0, 1.0, 2.0, INF], size=(q, n))
    right = draw.random((q, n)) < 0.3
    expected = [slowly(*row) for row in zip(scores, right, strict=True)]
    assert first_rights(scores, right).tolist() == [places[0] if places else MISSED for places in expected]
    assert [first_right(*row) for row in zip(scores, right, strict=True)] == first_rights(scores, right).tolist()
    assert [right_places(*row).tolist() for row in zip(scores, right, strict=True)] == expected


@pytest.mark.parametrize("kind", ["bool", "uint8", "int8", "int64", ">i4", "float16", "float32", ">f4", "longdouble"])
def test_scores_of_any_real_type_are_ranked(kind: str) -> None:
    scores: Scores = np.array([[0, 1, 1], [1, 0, 1]], dtype=kind)
    right = np.array([[True, False, True], [True, False, False]])
    assert first_rights(scores, right).tolist() == [2, 2]
    assert [right_places(*row).tolist() for row in zip(scores, right, strict=True)] == [[2, 3], [2]]


def test_the_least_whole_number_is_a_score_like_any_other() -> None:
    scores = np.array([[-128, -128, 127]], dtype=np.int8)
    assert first_rights(scores, np.array([[True, False, False]])).tolist() == [3]


def test_nan_never_helps() -> None:
    right = right_at({0}, 3)
    assert first_right(scored(NAN, 0.1, -INF), right) == 3
    assert first_right(scored(0.9, NAN, 0.1), right) == 2
    assert first_right(scored(NAN, NAN, NAN), right) == 3
    assert right_places(scored(NAN, 0.1, 0.5), right_at({0, 2}, 3)).tolist() == [1, 3]
    assert right_places(scored(0.9, NAN, 0.1), right).tolist() == [2]
    assert authors_first_right(scored(NAN, 0.1, 0.5), right) == 3
    assert authors_first_right(scored(0.9, NAN, 0.1), right) == 2


def test_the_authors_sort_agrees_where_nothing_is_tied() -> None:
    draw = np.random.default_rng(0)
    scores = draw.permuted(np.tile(np.arange(50, dtype=np.float32), (30, 1)), axis=1)
    right = draw.random((30, 50)) < 0.1
    assert authors_first_rights(scores, right).tolist() == first_rights(scores, right).tolist()


def test_the_authors_sort_is_never_worse_than_the_tie_rule() -> None:
    draw = np.random.default_rng(0)
    scores = draw.integers(3, size=(200, 7)).astype(np.float32)
    right = np.eye(7, dtype=bool)[draw.integers(7, size=200)]
    ours, authors = first_rights(scores, right), authors_first_rights(scores, right)
    above = (scores > scores[right][:, None]).sum(axis=1)
    assert (above < authors).all()
    assert (authors <= ours).all()
    assert (authors < ours).any()


def test_the_authors_sort_is_argsort_read_backwards() -> None:
    scores = np.zeros(5, dtype=np.float32)
    order = np.argsort(scores)[::-1]
    assert authors_first_right(scores, right_at({int(order[1])}, 5)) == 2


def test_a_missed_rank_is_infinite_where_it_is_compared() -> None:
    ranks: Int64 = np.array([1, MISSED, 7])
    assert missed_as_infinite(ranks).tolist() == [1, INF, 7]


def test_scores_and_right_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match=r"scores \[2\] and right \[3\] must have one shape of 1 dimensions"):
        first_right(scored(1, 2), right_at({0}, 3))
    with pytest.raises(ValueError, match="must have one shape of 2 dimensions"):
        first_rights(scored(1, 2), right_at({0}, 2))


def test_right_must_be_bool() -> None:
    with pytest.raises(ValueError, match="right must be bool, not int64"):
        right_places(scored(1, 2), np.array([0, 1]))  # type: ignore[arg-type]
