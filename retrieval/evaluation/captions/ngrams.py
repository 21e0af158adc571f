"""The n-grams of a tokenised caption: what BLEU and CIDEr count."""

from __future__ import annotations

from collections import Counter

LONGEST = 4

Counts = Counter[tuple[str, ...]]
"""How often each n-gram of 1 to 4 words is there."""


def count(tokenised: str) -> Counts:
    """Count the n-grams of a caption whose tokens have spaces between."""
    words = tokenised.split()
    return Counter(
        tuple(words[start : start + n]) for n in range(1, LONGEST + 1) for start in range(len(words) - n + 1)
    )


def length(counts: Counts) -> int:
    """Count the words of a caption."""
    return sum(number for ngram, number in counts.items() if len(ngram) == 1)
