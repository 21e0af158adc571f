"""Lookup: a picture becomes the texts that describe it, by the same two stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from retrieval.errors import EmptyText
from retrieval.first_stage import find, similarities
from retrieval.join import join
from retrieval.models.roles import Encoder
from retrieval.rerank import Judged, Reranker, rerank_texts, unjudged
from retrieval.texts import require_words
from retrieval.types import Candidate, Hit
from storage import items
from storage.db import Session
from storage.snapshots import Snapshot


def lookup(
    session: Session,
    image: Image,
    snapshot: Snapshot,
    encoder: Encoder,
    reranker: Reranker | None,
    *,
    k: int,
    candidates: int,
) -> list[Hit]:
    """Find the k texts of a snapshot that describe a picture best."""
    embedding = encoder.encode_images(encoder.prepare(image)[None])
    found = find(embedding, snapshot, max(k, candidates) if reranker else k)[0]
    known = items.by_ids(session, [candidate.item_id for candidate in found])
    living = [candidate for candidate in found if candidate.item_id in known]
    texts = {candidate.item_id: known[candidate.item_id].text or "" for candidate in living}
    return join(_judge(image, living, texts, reranker)[:k], known)


def lookup_among(
    image: Image,
    texts: Sequence[str],
    encoder: Encoder,
    reranker: Reranker | None,
    *,
    k: int,
    candidates: int,
    origin: str,
) -> list[Hit]:
    """Find the k of some given texts that describe a picture best.

    Such texts are no items: a hit's id is the number of its text counted from 1, its uri `origin` and that number.
    """
    if not texts:
        raise EmptyText("")
    require_words(texts)
    embedding = encoder.encode_images(encoder.prepare(image)[None])[0]
    scores = similarities(embedding, encoder.encode_texts(texts)[:, None, :])
    best = np.argsort(-scores, kind="stable")[: max(k, candidates) if reranker else k]
    found = [Candidate(int(i) + 1, float(scores[i]), rank) for rank, i in enumerate(best, start=1)]
    judged = _judge(image, found, dict(enumerate(texts, start=1)), reranker)
    return [
        Hit(
            id=one.candidate.item_id,
            uri=f"{origin}#{one.candidate.item_id}",
            rank=rank,
            itc_similarity=one.candidate.similarity,
            itc_rank=one.candidate.rank,
            itm_logit=one.logit,
            match_probability=one.match_probability,
            text=texts[one.candidate.item_id - 1],
        )
        for rank, one in enumerate(judged[:k], start=1)
    ]


def _judge(image: Image, found: Sequence[Candidate], texts: dict[int, str], reranker: Reranker | None) -> list[Judged]:
    if reranker is None:
        return unjudged(found)
    matcher = reranker.matcher
    return rerank_texts(matcher.image_tokens(matcher.prepare(image)[None]), found, texts, reranker)
