"""Features: what a model makes of pictures, of texts, or of both together, for a vector database or another program.

Everything flows: a batch is read when the one before it has been taken, so that memory does not grow with the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

import numpy as np

from retrieval.models.roles import FeatureExtractor
from retrieval.types import Float32, UInt8

Kind = Literal["image", "text", "multimodal"]
T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """What is asked for: `projected` vectors lie in the space of ITC, `every_token` is more than what is compared."""

    kind: Kind
    projected: bool = True
    every_token: bool = False


@dataclass(frozen=True)
class Seen:
    """A picture that a model can read, and where it came from."""

    uri: str
    pixels: UInt8


@dataclass(frozen=True, eq=False)
class Feature:
    """The vectors of a picture (its uri), a text, or both together: `[v, d]`, or `[d]` for a text alone."""

    uri: str | None
    text: str | None
    embedding: Float32


def image_features(
    pictures: Iterable[Seen], extractor: FeatureExtractor, wanted: Wanted, *, batch: int
) -> Iterator[Feature]:
    """Give the features of pictures, in order."""
    for some in batches(pictures, batch):
        pixels = np.stack([one.pixels for one in some])
        found = extractor.image_features(pixels, projected=wanted.projected, every_token=wanted.every_token)
        yield from (Feature(one.uri, None, embedding) for one, embedding in zip(some, found, strict=True))


def text_features(
    texts: Iterable[str], extractor: FeatureExtractor, wanted: Wanted, *, batch: int
) -> Iterator[Feature]:
    """Give the features of texts, in order."""
    for some in batches(texts, batch):
        found = extractor.text_features(some, projected=wanted.projected, every_token=wanted.every_token)
        yield from (Feature(None, text, embedding) for text, embedding in zip(some, found, strict=True))


def pair_features(
    pictures: Iterable[Seen], texts: Sequence[str], extractor: FeatureExtractor, wanted: Wanted, *, batch: int
) -> Iterator[Feature]:
    """Give the features of picture i read with text i, in order; they are never projected."""
    for some in batches(zip(pictures, texts, strict=True), batch):
        pixels = np.stack([one.pixels for one, _ in some])
        found = extractor.pair_features(pixels, [text for _, text in some], every_token=wanted.every_token)
        for (one, text), embedding in zip(some, found, strict=True):
            yield Feature(one.uri, text, embedding)


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of at most `size`."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
