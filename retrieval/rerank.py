"""The second stage: the ITM head reads every candidate together with the query and puts them in a new order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.models.roles import Matcher
from retrieval.pictures import ImageTokens
from retrieval.types import Candidate, Float32
from storage.items import Item


@dataclass(frozen=True)
class Judged:
    """A candidate and what the matcher said of it: None where it was not asked or could not see the picture."""

    candidate: Candidate
    logit: float | None = None
    match_probability: float | None = None
    stale: bool = False


def unjudged(candidates: Sequence[Candidate]) -> list[Judged]:
    """Leave the order of the first stage."""
    return [Judged(candidate) for candidate in candidates]


def rerank_images(
    text: str, candidates: Sequence[Candidate], items: Mapping[int, Item], matcher: Matcher, tokens: ImageTokens
) -> list[Judged]:
    """Order images by how well the ITM head thinks they match a text; stale ones keep null scores and come last."""
    logits: dict[int, Float32] = {}
    wanted = [items[candidate.item_id] for candidate in candidates if candidate.item_id in items]
    for some, stack in tokens.of(wanted):
        pairs = np.stack([np.arange(len(some)), np.zeros(len(some), dtype=np.int64)], axis=1)
        logits.update(zip((item.id for item in some), matcher.match(stack, [text], pairs), strict=True))
    return order([_judge(candidate, logits.get(candidate.item_id)) for candidate in candidates])


def rerank_texts(
    tokens: Float32, candidates: Sequence[Candidate], texts: Mapping[int, str], matcher: Matcher
) -> list[Judged]:
    """Order texts by how well they match one picture's tokens `float32 [1, t, c]`."""
    if not candidates:
        return []
    asked = [texts[candidate.item_id] for candidate in candidates]
    pairs = np.stack([np.zeros(len(asked), dtype=np.int64), np.arange(len(asked))], axis=1)
    logits = matcher.match(tokens, asked, pairs)
    return order([_judge(candidate, logit) for candidate, logit in zip(candidates, logits, strict=True)])


def order(judged: Sequence[Judged]) -> list[Judged]:
    """Put judged candidates first, by match logit plus ITC similarity; ties keep the order of the first stage.

    The sum is the score of BLIP's and BLIP-2's evaluation (salesforce/BLIP train_retrieval.py, `evaluation`).
    """

    def key(one: Judged) -> tuple[bool, float, int]:
        score = 0.0 if one.logit is None else one.logit + one.candidate.similarity
        return one.logit is None, -score, one.candidate.rank

    return sorted(judged, key=key)


def _judge(candidate: Candidate, logits: Float32 | None) -> Judged:
    if logits is None:
        return Judged(candidate, stale=True)
    return Judged(candidate, logit=float(logits[1]), match_probability=match_probability(logits))


def match_probability(logits: Float32) -> float:
    """Read a pair's two logits `float32 [2]`: class 1 is match, and its softmax is the match probability.

    The softmax of two numbers is the logistic function of their difference, here by tanh, which cannot overflow.
    """
    no, yes = (float(logit) for logit in logits)
    return 0.5 * (1 + math.tanh((yes - no) / 2))
