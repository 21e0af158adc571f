"""Search: a query becomes hits in two stages, each of which can be waited for on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.errors import EmptyText
from retrieval.first_stage import find
from retrieval.join import join
from retrieval.models.roles import Encoder
from retrieval.rerank import Judged, Reranker, judge_images, order, unjudged
from retrieval.texts import require_words
from retrieval.types import Candidate, Float32, Hit, Query
from storage import items, words
from storage.db import Session
from storage.items import Item
from storage.snapshots import Snapshot


@dataclass(frozen=True)
class Found:
    """What the first stage found for a query, and the items behind it: everything that reranking needs."""

    query: Query
    candidates: list[Candidate]
    known: dict[int, Item]

    @property
    def hits(self) -> list[Hit]:
        """The candidates as hits, in the order of the first stage; nothing is judged yet."""
        return join(unjudged(self.candidates), self.known)


@dataclass(frozen=True)
class Read:
    """A step of reranking: what the matcher has just read; `done` of `total` candidates are."""

    judged: list[Judged]
    done: int
    total: int


@dataclass(frozen=True)
class Ranked:
    """The last step: the hits in their final order."""

    hits: list[Hit]


def search(
    session: Session,
    query: Query,
    snapshot: Snapshot,
    encoder: Encoder,
    *,
    n: int,
    pooled: int | None = None,
) -> Found:
    """Find the n images of a snapshot that are most similar to a query. `pooled` is explained at `find`."""
    found = find(encode([query], encoder), snapshot, n, pooled=pooled)[0]
    return Found(query, found, items.by_ids(session, [candidate.item_id for candidate in found]))


def rerank(found: Found, reranker: Reranker | None) -> Iterator[Read | Ranked]:
    """Let the matcher read what was found, and tell of every step; a picture alone stays ordered by similarity."""
    judged = unjudged(found.candidates)
    if reranker is not None and found.query.text is not None:
        judged = []
        for batch in judge_images(found.query.text, found.candidates, found.known, reranker):
            judged += batch
            yield Read(batch, len(judged), len(found.candidates))
    yield Ranked(join(order(judged), found.known))


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
