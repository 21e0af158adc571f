"""What one query of an evaluation found, and how that is packed into bytes, so that it can be read again as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.models.checkpoints import Scoring
from retrieval.rerank import Judged
from retrieval.types import Candidate

IMAGES, TEXTS = "text->image", "image->text"
"""The two directions, by what is found."""
DIRECTIONS = (IMAGES, TEXTS)

ROW = np.dtype([("item", "<i8"), ("rank", "<i4"), ("similarity", "<f4"), ("no", "<f4"), ("yes", "<f4")])
"""One candidate: item id, rank by the first stage, ITC cosine, both match logits (NaN where nothing was judged).

Two rows are no candidates. Rank 0 is the outsider: of the right items that the first stage did not hand on, the most
similar one. Rank -1 is the runner-up: the first item that was left out, by which it shows where a tie was cut through.
"""
OUTSIDER, RUNNER_UP = 0, -1
Rows = NDArray[np.void]
SCORINGS: tuple[Scoring, ...] = ("itc", "itm", "itm+itc", "itm-probability")


@dataclass(frozen=True)
class Found:
    """What one query found: its candidates in the order of the first stage, and behind them who was left out.

    `first_milliseconds` is this query's share of what had to be done once: embedding, the first stage, and the tokens
    of a picture that is asked by. `rerank_milliseconds` is what the candidates took.
    """

    direction: str
    query: int
    fold: int
    rows: Rows
    first_milliseconds: float
    rerank_milliseconds: float

    @property
    def candidates(self) -> Rows:
        """The candidates alone."""
        some: Rows = self.rows[self.rows["rank"] > 0]
        return some

    @property
    def runner_up(self) -> Rows:
        """The first item that was left out: one row or none."""
        some: Rows = self.rows[self.rows["rank"] == RUNNER_UP]
        return some

    @property
    def outsider(self) -> Rows:
        """The outsider: one row or none."""
        some: Rows = self.rows[self.rows["rank"] == OUTSIDER]
        return some


def pack(page: Sequence[Judged], outsider: Judged | None = None, runner_up: Candidate | None = None) -> Rows:
    """Write a page as rows, whatever its order; the candidates come in the order of the first stage."""
    judged = sorted(page, key=lambda one: one.candidate.rank)
    left_out = [
        *([(outsider, OUTSIDER)] if outsider else []),
        *([(Judged(runner_up), RUNNER_UP)] if runner_up else []),
    ]
    rows = np.empty(len(judged) + len(left_out), dtype=ROW)
    for place, (one, rank) in enumerate([*((one, one.candidate.rank) for one in judged), *left_out]):
        yes = np.nan if one.logit is None else one.logit
        no = np.nan if one.logit is None or one.margin is None else one.logit - one.margin
        rows[place] = (one.candidate.item_id, rank, one.candidate.similarity, no, yes)
    return rows


def to_bytes(rows: Rows) -> bytes:
    """Write rows as they are stored: 24 bytes each."""
    return bytes(rows.tobytes())


def from_bytes(stored: bytes) -> Rows:
    """Read what `to_bytes` wrote."""
    return np.frombuffer(stored, dtype=ROW)


def scores(rows: Rows, scoring: Scoring) -> NDArray[np.float64]:
    """Score candidates as `retrieval.rerank.score_of` does; those that were not judged get minus infinity."""
    yes, no = rows["yes"].astype(np.float64), rows["no"].astype(np.float64)
    similarity = rows["similarity"].astype(np.float64)
    match scoring:
        case "itc":
            found = similarity
        case "itm":
            found = yes
        case "itm+itc":
            found = yes + similarity
        case "itm-probability":
            found = 0.5 * (1 + np.tanh((yes - no) / 2))
    return np.where(np.isnan(found), -np.inf, found)
