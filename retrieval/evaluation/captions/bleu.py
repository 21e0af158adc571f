"""BLEU of captions: the share of n-grams that a reference has too, and a penalty for being short.

Papineni et al. 2002 (ACL, "BLEU: a method for automatic evaluation of machine translation"), with the details of the
COCO caption scorer: the reference length is the closest one (of two equally close ones the shorter), nothing is
smoothed beyond what keeps the division from zero, and the value of a single caption is that of a corpus of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from retrieval.evaluation.captions import ngrams
from retrieval.evaluation.captions.ngrams import LONGEST, Counts

TINY, SMALL = 1e-15, 1e-9
"""Added to what is divided and to what it is divided by."""

Bleus = tuple[float, ...]
"""BLEU-1 to BLEU-4, in [0, 1]."""


@dataclass(frozen=True)
class _Facts:
    """What BLEU needs of one caption, or of many together: n-grams that are right, n-grams, and both lengths."""

    right: tuple[int, ...]
    all: tuple[int, ...]
    length: int
    reference_length: int


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Bleus, list[Bleus]]:
    """Score tokenised captions against their tokenised references: all together, and one by one."""
    facts = [
        _facts(ngrams.count(candidate), [ngrams.count(one) for one in given])
        for candidate, given in zip(candidates, references, strict=True)
    ]
    together = _Facts(
        tuple(sum(one.right[n] for one in facts) for n in range(LONGEST)),
        tuple(sum(one.all[n] for one in facts) for n in range(LONGEST)),
        sum(one.length for one in facts),
        sum(one.reference_length for one in facts),
    )
    return _bleus(together), [_bleus(one) for one in facts]


def _facts(candidate: Counts, references: Sequence[Counts]) -> _Facts:
    right = [0] * LONGEST
    for ngram, number in candidate.items():
        right[len(ngram) - 1] += min(number, max(reference[ngram] for reference in references))
    length = ngrams.length(candidate)
    lengths = [ngrams.length(reference) for reference in references]
    _, closest = min((abs(one - length), one) for one in lengths)
    return _Facts(tuple(right), tuple(max(0, length - n) for n in range(LONGEST)), length, closest)


def _bleus(facts: _Facts) -> Bleus:
    ratio = (facts.length + TINY) / (facts.reference_length + SMALL)
    penalty = exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, found = 1.0, []
    for n in range(LONGEST):
        product *= (facts.right[n] + TINY) / (facts.all[n] + SMALL)
        found.append(penalty * product ** (1 / (n + 1)))
    return tuple(found)
