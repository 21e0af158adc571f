"""ROUGE-L of captions: the longest row of words that a reference has in the same order.

Lin 2004 (ACL workshop, "ROUGE: a package for automatic evaluation of summaries", section 3), as the COCO caption scorer
takes it: the best precision and the best recall, be they of different references, and recall 1.2 times as dear.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

BETA = 1.2


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Score tokenised captions against their tokenised references: the mean, and one by one; in [0, 1]."""
    each = [_score(candidate, given) for candidate, given in zip(candidates, references, strict=True)]
    return fmean(each) if each else 0.0, each


def _score(candidate: str, references: Sequence[str]) -> float:
    # By the space alone, as the original cuts: a token with a hard space is one word here.
    said = candidate.split(" ")
    given = [reference.split(" ") for reference in references]
    common = [longest_common(said, words) for words in given]
    precision = max(common) / len(said)
    recall = max(row / len(words) for row, words in zip(common, given, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the words of the longest common subsequence."""
    above = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for place, against in enumerate(other):
            row.append(above[place] + 1 if word == against else max(above[place + 1], row[place]))
        above = row
    return above[-1]
