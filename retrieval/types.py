"""The values that travel through retrieval: query, candidate, hit, answer. NumPy, Pillow and stdlib only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Query:
    """What the user gives: a text, an image, or both."""

    text: str | None = None
    image: Image | None = None


@dataclass(frozen=True)
class Candidate:
    """An item that the first stage found, before reranking.

    `similarity` is the ITC cosine similarity in [-1, 1]; `rank` counts from 1.
    """

    item_id: int
    similarity: float
    rank: int


@dataclass(frozen=True)
class Hit:
    """A candidate after reranking, joined with its metadata.

    `rank` and `itc_rank` count from 1. `itm_logit` is the match logit (class 1 of the ITM head) and
    `match_probability` what the gallery's calibration makes of both logits, else their softmax; both are None where no
    matcher read the picture.
    `stale` says why: the picture is missing or changed since it was indexed.
    """

    id: int
    uri: str
    rank: int
    itc_similarity: float | None
    itc_rank: int | None
    itm_logit: float | None
    match_probability: float | None
    text: str | None = None
    stale: bool = False


@dataclass(frozen=True)
class Answer:
    """What the captioner or the answerer said about one picture; `question` is None for a caption.

    `unknown_words` are those of the question that the model does not know.
    """

    item_id: int | None
    question: str | None
    text: str
    model: str
    unknown_words: tuple[str, ...] = ()
