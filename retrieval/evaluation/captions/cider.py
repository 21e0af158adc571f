"""CIDEr of captions: how alike a caption and its references are in the n-grams that few pictures share.

Vedantam et al. 2015 (arXiv 1411.5726). What the COCO caption scorer prints as CIDEr is the paper's CIDEr-D (section 8):
counts are cut to those of the reference, and a Gaussian of 6 words' width punishes another length. n-grams weigh by the
logarithm of how few pictures' references hold them, so a score belongs to the whole set that it was computed of, and is
zero for a single picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean

from retrieval.evaluation.captions import ngrams
from retrieval.evaluation.captions.ngrams import LONGEST, Counts

SIGMA = 6.0
SCALE = 10.0


@dataclass(frozen=True)
class _Vector:
    """The weights of a caption's n-grams, their norms for n of 1 to 4, and its length in pairs of words."""

    weights: dict[tuple[str, ...], float]
    norms: tuple[float, ...]
    length: int


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Score tokenised captions against their tokenised references: the mean, and one by one; in [0, 10]."""
    given = [[ngrams.count(one) for one in some] for some in references]
    pictures: Counter[tuple[str, ...]] = Counter()
    for some in given:
        pictures.update(set().union(*some))
    idf = {ngram: log(len(given)) - log(number) for ngram, number in pictures.items()}
    unseen = log(len(given)) if given else 0.0
    each = []
    for candidate, some in zip(candidates, given, strict=True):
        said = _vector(ngrams.count(candidate), idf, unseen)
        each.append(SCALE * fmean(_similarity(said, _vector(one, idf, unseen)) for one in some))
    return fmean(each) if each else 0.0, each


def _vector(counts: Counts, idf: dict[tuple[str, ...], float], unseen: float) -> _Vector:
    weights = {ngram: number * idf.get(ngram, unseen) for ngram, number in counts.items()}
    squares = [0.0] * LONGEST
    for ngram, weight in weights.items():
        squares[len(ngram) - 1] += weight**2
    pairs = sum(number for ngram, number in counts.items() if len(ngram) == 2)
    return _Vector(weights, tuple(map(sqrt, squares)), pairs)


def _similarity(said: _Vector, given: _Vector) -> float:
    """Compare two captions: the mean of the cosines of their n-grams over n, times the penalty for length."""
    products = [0.0] * LONGEST
    for ngram, weight in said.weights.items():
        other = given.weights.get(ngram)
        if other is not None:
            products[len(ngram) - 1] += min(weight, other) * other
    norms = [one * other for one, other in zip(said.norms, given.norms, strict=True)]
    cosine = fmean(product / norm if norm else product for product, norm in zip(products, norms, strict=True))
    return cosine * exp(-((said.length - given.length) ** 2) / (2 * SIGMA**2))
