"""Pages of an evaluation come back from bytes as they were, and score their candidates as a search does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from retrieval.evaluation.pages import ROW, SCORINGS, Found, from_bytes, pack, scores, to_bytes
from retrieval.models.checkpoints import Scoring
from retrieval.rerank import Judged, score_of
from retrieval.types import Candidate


def judged(item: int, rank: int, similarity: float, no: float | None = None, yes: float | None = None) -> Judged:
    margin = None if no is None or yes is None else yes - no
    return Judged(Candidate(item, similarity, rank), logit=yes, margin=margin)


PAGE = [judged(7, 2, 0.25, -1.5, 3.0), judged(9, 1, 0.5, 0.5, 2.0), judged(8, 3, 0.125)]
"""Three candidates in the order of a reranker; the last one could not be read."""


def test_candidates_are_kept_in_the_order_of_the_first_stage() -> None:
    rows = pack(PAGE)
    assert rows["item"].tolist() == [9, 7, 8]
    assert rows["rank"].tolist() == [1, 2, 3]
    assert rows["similarity"].tolist() == [0.5, 0.25, 0.125]


def test_both_logits_are_kept_and_what_was_not_read_has_none() -> None:
    rows = pack(PAGE)
    assert rows["no"].tolist()[:2] == [0.5, -1.5]
    assert rows["yes"].tolist()[:2] == [2.0, 3.0]
    assert np.isnan(rows[2]["no"])
    assert np.isnan(rows[2]["yes"])


def test_what_was_packed_comes_back_from_bytes() -> None:
    rows = pack(PAGE, judged(3, 0, 0.0625, 1.0, -1.0))
    stored = to_bytes(rows)
    assert len(stored) == len(rows) * ROW.itemsize == 4 * 24
    again = from_bytes(stored)
    assert to_bytes(again) == stored
    np.testing.assert_array_equal(again["item"], [9, 7, 8, 3])
    np.testing.assert_array_equal(again["no"], rows["no"])


def test_logits_of_float32_come_back_to_the_last_bit() -> None:
    draw = np.random.default_rng(1).normal(0, 20, (200, 2)).astype(np.float32)
    rows = pack([judged(i, i + 1, 0.0, float(no), float(yes)) for i, (no, yes) in enumerate(draw)])
    np.testing.assert_array_equal(from_bytes(to_bytes(rows))["yes"], draw[:, 1])
    np.testing.assert_allclose(rows["no"], draw[:, 0], rtol=1e-6)


def test_the_outsider_is_no_candidate() -> None:
    found = Found("text->image", 1, 0, pack(PAGE, judged(3, 0, 0.0625)), 0.0, 0.0)
    assert found.candidates["item"].tolist() == [9, 7, 8]
    assert found.outsider["item"].tolist() == [3]
    assert len(Found("text->image", 1, 0, pack(PAGE), 0.0, 0.0).outsider) == 0


def test_an_empty_page_is_a_page() -> None:
    found = Found("text->image", 1, 0, from_bytes(to_bytes(pack([]))), 0.0, 0.0)
    assert len(found.candidates) == len(found.outsider) == 0
    assert all(scores(found.candidates, scoring).shape == (0,) for scoring in SCORINGS)


@pytest.mark.parametrize(
    ("scoring", "of_the_first", "of_the_second"),
    [
        ("itc", 0.5, 0.25),
        ("itm", 2.0, 3.0),
        ("itm+itc", 2.5, 3.25),
        ("itm-probability", 1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(-4.5))),
    ],
)
def test_a_candidate_scores_by_what_is_asked_for(scoring: Scoring, of_the_first: float, of_the_second: float) -> None:
    assert scores(pack(PAGE), scoring).tolist()[:2] == pytest.approx([of_the_first, of_the_second], abs=1e-12)


@pytest.mark.parametrize("scoring", SCORINGS)
def test_a_candidate_scores_as_it_does_in_a_search(scoring: Scoring) -> None:
    draw = np.random.default_rng(2)
    logits = draw.normal(0, 6, (50, 2)).astype(np.float32).astype(np.float64)
    cosines = draw.uniform(-1, 1, 50).astype(np.float32).astype(np.float64)
    page = [judged(i, i + 1, cosines[i], *logits[i]) for i in range(50)]
    expected = [score_of(one.logit, one.margin, one.candidate.similarity, scoring) for one in page]  # type: ignore[arg-type]
    assert scores(pack(page), scoring).tolist() == pytest.approx(expected, rel=1e-6)


def test_a_candidate_that_was_not_read_is_below_every_other_but_keeps_its_cosine() -> None:
    rows = pack(PAGE)
    assert scores(rows, "itc").tolist() == [0.5, 0.25, 0.125]
    assert [scores(rows, scoring)[2] for scoring in SCORINGS[1:]] == [-math.inf] * 3


def test_a_logit_that_is_no_number_is_no_score() -> None:
    rows = pack([judged(1, 1, 0.5, 0.0, math.nan)])
    assert [scores(rows, scoring)[0] for scoring in SCORINGS] == [0.5, -math.inf, -math.inf, -math.inf]
