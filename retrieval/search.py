"""Search: a query becomes hits in two stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from retrieval.errors import EmptyText
from retrieval.first_stage import find
from retrieval.join import join
from retrieval.models.roles import Encoder
from retrieval.rerank import Reranker, rerank_images, unjudged
from retrieval.texts import require_words
from retrieval.types import Candidate, Float32, Hit, Query
from storage import items, words
from storage.db import Session
from storage.snapshots import Snapshot


def search(
    session: Session,
    query: Query,
    snapshot: Snapshot,
    encoder: Encoder,
    reranker: Reranker | None,
    *,
    k: int,
    candidates: int,
    pooled: int | None = None,
) -> list[Hit]:
    """Find the k images of a snapshot that answer a query best.

    The first stage gives `candidates` (at least k) by ITC similarity; the matcher orders them anew where there is
    one and the query has a text. A picture alone is answered by similarity. `pooled` is explained at `find`.
    """
    embedding = encode([query], encoder)
    found = find(embedding, snapshot, max(k, candidates) if reranker else k, pooled=pooled)[0]
    known = items.by_ids(session, [candidate.item_id for candidate in found])
    if reranker is None or query.text is None:
        return join(unjudged(found)[:k], known)
    return join(rerank_images(query.text, found, known, reranker)[:k], known)


def search_many(
    session: Session,
    queries: Sequence[Query],
    snapshot: Snapshot,
    encoder: Encoder,
    *,
    k: Sequence[int],
    pooled: int | None = None,
) -> list[list[Hit]]:
    """Answer several queries by the first stage alone, in one pass of the encoder and one look into SQL."""
    found = find(encode(queries, encoder), snapshot, max(k), pooled=pooled)
    pages: list[list[Candidate]] = [page[:size] for page, size in zip(found, k, strict=True)]
    known = items.by_ids(session, {candidate.item_id for page in pages for candidate in page})
    return [join(unjudged(page), known) for page in pages]


def search_names(session: Session, gallery_id: int, text: str, *, k: int) -> list[Hit]:
    """Find images by the words in their names and captions; such hits carry no scores."""
    ids = words.search(session, gallery_id, "image", text, k=k)
    known = items.by_ids(session, ids)
    return [
        Hit(i, known[i].uri, rank, itc_similarity=None, itc_rank=None, itm_logit=None, match_probability=None)
        for rank, i in enumerate(ids, start=1)
    ]


def encode(queries: Sequence[Query], encoder: Encoder) -> Float32:
    """Embed queries to `float32 [q, w, d]`; text and picture together meet in the middle of their directions."""
    texts = [query.text for query in queries if query.text is not None]
    images = [query.image for query in queries if query.image is not None]
    require_words(texts)
    of_texts = iter(encoder.encode_texts(texts)) if texts else iter(())
    pixels = np.stack([encoder.prepare(image) for image in images]) if images else None
    of_images = iter(encoder.encode_images(pixels)) if pixels is not None else iter(())
    embedded = [_combine(query, of_texts, of_images) for query in queries]
    width = max(len(one) for one in embedded)
    # A query of fewer vectors repeats its last one: the maximum over them stays the same.
    return np.stack([one[np.minimum(np.arange(width), len(one) - 1)] for one in embedded])


def _combine(query: Query, of_texts: Iterator[Float32], of_images: Iterator[Float32]) -> Float32:
    """Take a query's own vectors from the two streams: `float32 [w, d]`."""
    match (query.text, query.image):
        case (None, None):
            raise EmptyText("")
        case (_, None):
            return next(of_texts)[None, :]
        case (None, _):
            return next(of_images)
        case _:
            middle = next(of_images) + next(of_texts)[None, :]
            unit: Float32 = (middle / np.linalg.norm(middle, axis=1, keepdims=True)).astype(np.float32)
            return unit
