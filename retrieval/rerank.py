"""The second stage: the ITM head reads every candidate together with the query and puts them in a new order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from retrieval.calibration import Curve, probability
from retrieval.models.checkpoints import Scoring
from retrieval.models.roles import Matcher
from retrieval.pictures import ImageTokens
from retrieval.types import Candidate, Float32
from storage.items import Item


@dataclass(frozen=True)
class Reranker:
    """A matcher, where it gets image tokens from, and how its logit becomes the score that orders a page.

    `curve` makes match probabilities of its margins; None is the softmax, as it comes.
    """

    matcher: Matcher
    tokens: ImageTokens
    scoring: Scoring
    curve: Curve | None = None


@dataclass(frozen=True)
class Judged:
    """A candidate and what the matcher said of it: None where it was not asked or could not see the picture.

    `margin` is how far the match logit lies above the other one. `score` is what judged candidates are ordered by.
    """

    candidate: Candidate
    logit: float | None = None
    margin: float | None = None
    match_probability: float | None = None
    score: float | None = None
    stale: bool = False


def unjudged(candidates: Sequence[Candidate]) -> list[Judged]:
    """Leave the order of the first stage."""
    return [Judged(candidate) for candidate in candidates]


def rerank_images(
    text: str, candidates: Sequence[Candidate], items: Mapping[int, Item], reranker: Reranker
) -> list[Judged]:
    """Order images by how well the ITM head thinks they match a text; stale ones keep null scores and come last."""
    return order(list(chain.from_iterable(judge_images(text, candidates, items, reranker))))


def judge_images(
    text: str, candidates: Sequence[Candidate], items: Mapping[int, Item], reranker: Reranker
) -> Iterator[list[Judged]]:
    """Let the ITM head read each image together with a text, batch by batch as they are done; stale ones come last."""
    by_id = {candidate.item_id: candidate for candidate in candidates}
    wanted = [items[item_id] for item_id in by_id if item_id in items]
    for some, stack in reranker.tokens.of(wanted):
        pairs = np.stack([np.arange(len(some)), np.zeros(len(some), dtype=np.int64)], axis=1)
        logits = reranker.matcher.match(stack, [text], pairs)
        read = zip(some, logits.tolist(), strict=True)
        yield [_judge(by_id.pop(item.id), no, yes, reranker) for item, (no, yes) in read]
    if by_id:
        yield [Judged(candidate, stale=True) for candidate in by_id.values()]


def rerank_texts(
    tokens: Float32, candidates: Sequence[Candidate], texts: Mapping[int, str], reranker: Reranker
) -> list[Judged]:
    """Order texts by how well they match one picture's tokens `float32 [1, t, c]`."""
    if not candidates:
        return []
    asked = [texts[candidate.item_id] for candidate in candidates]
    pairs = np.stack([np.zeros(len(asked), dtype=np.int64), np.arange(len(asked))], axis=1)
    logits = reranker.matcher.match(tokens, asked, pairs)
    read = zip(candidates, logits.tolist(), strict=True)
    return order([_judge(one, no, yes, reranker) for one, (no, yes) in read])


def order(judged: Sequence[Judged]) -> list[Judged]:
    """Put judged candidates first, by score; ties keep the order of the first stage."""

    def key(one: Judged) -> tuple[bool, float, int]:
        return one.score is None, -(one.score or 0.0), one.candidate.rank

    return sorted(judged, key=key)


def score_of(logit: float, margin: float, similarity: float, scoring: Scoring) -> float:
    """Make the score of a candidate from its match logit, its margin and its ITC cosine, as the authors do.

    "itm" is the logit alone (salesforce/ALBEF Retrieval.py, `evaluation`), "itm+itc" adds the raw cosine
    (salesforce/BLIP train_retrieval.py, `evaluation`; salesforce/LAVIS `compute_sim_matrix`), "itm-probability" is the
    softmax of both logits (salesforce/ALPRO run_video_retrieval.py, `inference_retrieval`), "itc" the cosine alone.
    """
    match scoring:
        case "itm":
            return logit
        case "itm+itc":
            return logit + similarity
        case "itm-probability":
            return probability(None, margin)
        case "itc":
            return similarity


def _judge(candidate: Candidate, no: float, yes: float, reranker: Reranker) -> Judged:
    margin = yes - no
    return Judged(
        candidate,
        logit=yes,
        margin=margin,
        match_probability=probability(reranker.curve, margin),
        score=score_of(yes, margin, candidate.similarity, reranker.scoring),
    )


def margin_of(logits: Float32) -> float:
    """Read a pair's two logits `float32 [2]`: class 1 is match; the margin is how far it lies above class 0."""
    no, yes = logits.tolist()
    return float(yes - no)
