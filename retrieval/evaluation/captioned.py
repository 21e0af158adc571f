"""A sample to calibrate on where nobody gave pairs: captions that a model wrote are the queries.

A caption's picture is right, and so is every other picture of the very same caption. The candidates are the captioned
pictures alone and not the whole gallery: of those, many more would fit the caption without anybody having said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from retrieval.evaluation.calibrating import Sample
from retrieval.first_stage import similarities
from retrieval.models.roles import Encoder
from retrieval.rerank import Reranker, rerank_images
from retrieval.texts import has_words
from retrieval.types import Candidate, Float32
from storage.items import Item


def sample_of_captions(
    pictures: Sequence[Item],
    embeddings: Float32,
    captions: Sequence[str],
    encoder: Encoder,
    reranker: Reranker,
    *,
    candidates: int,
    advance: Callable[[int], None],
) -> Sample:
    """Ask for every picture by its caption; `embeddings` of the pictures are `float32 [n, v, d]`."""
    by_id = {item.id: item for item in pictures}
    same: dict[str, set[int]] = {}
    for item, caption in zip(pictures, captions, strict=True):
        same.setdefault(caption, set()).add(item.id)
    sample = Sample()
    for caption, right in same.items():
        if has_words(caption):
            page = _candidates(pictures, embeddings, encoder.encode_texts([caption]), candidates)
            sample.add(rerank_images(caption, page, by_id, reranker), right)
        advance(len(right))
    return sample


def _candidates(pictures: Sequence[Item], embeddings: Float32, query: Float32, count: int) -> list[Candidate]:
    scores = similarities(query, embeddings)
    best = np.argsort(-scores, kind="stable")[:count]
    return [Candidate(pictures[i].id, float(scores[i]), rank) for rank, i in enumerate(best, start=1)]
