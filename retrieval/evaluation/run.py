"""An evaluation run: the gallery's texts are queries, its pairs the qrels, in both directions.

Every query goes through the first stage and the rerank that serve users; there is no second retrieval path. What a
query found is given out and forgotten, so memory does not grow with queries times items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from time import perf_counter

import numpy as np

from retrieval.evaluation.benchmark import Benchmark, Fold
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, TEXTS, Found, Rows, pack
from retrieval.first_stage import find, similarities, vectors_of
from retrieval.models.roles import Encoder
from retrieval.rerank import Judged, Reranker, rerank_images, rerank_texts, unjudged
from retrieval.types import Candidate, Float32
from storage.items import Item

BATCH = 64

Done = Mapping[str, Collection[int]]
"""Direction to the queries that were asked already."""


def run(
    benchmark: Benchmark,
    encoder: Encoder,
    reranker: Reranker | None,
    *,
    candidates: int,
    pooled: int | None = None,
    done: Done | None = None,
) -> Iterator[Found]:
    """Ask every query of a benchmark, texts first, and give what each found.

    `pooled` is explained at `find`. Queries that are `done` are not asked again.
    """
    for direction in DIRECTIONS:
        asked = set((done or {}).get(direction, ()))
        for fold in benchmark.folds:
            left = [query for query in fold.right[direction] if query not in asked]
            side = _Side(benchmark.known, fold, direction, encoder, reranker, candidates, pooled)
            for start in range(0, len(left), BATCH):
                yield from side.ask(left[start : start + BATCH])


class _Side:
    """One direction of one fold."""

    def __init__(
        self,
        known: Mapping[int, Item],
        fold: Fold,
        direction: str,
        encoder: Encoder,
        reranker: Reranker | None,
        candidates: int,
        pooled: int | None,
    ) -> None:
        self.known, self.fold, self.direction, self.right = known, fold, direction, fold.right[direction]
        self.encoder, self.reranker = encoder, reranker
        self.candidates, self.pooled = candidates, pooled

    def ask(self, queries: list[int]) -> Iterator[Found]:
        """Ask some queries."""
        begun = perf_counter()
        if self.direction == IMAGES:
            asked: Float32 = self.encoder.encode_texts([self.known[i].text or "" for i in queries])[:, None, :]
        else:
            # The stored vector is the encoder's own: the gallery's fingerprint says so.
            asked = vectors_of(self.fold.images, np.array(queries, dtype=np.int64))
        pooled = self.pooled if self.direction == IMAGES else None
        pages = find(asked, self.fold.pool(self.direction), self.candidates, pooled=pooled)
        each = (perf_counter() - begun) / len(queries)
        found = dict(zip(queries, zip(asked, pages, strict=True), strict=True))
        if self.direction == TEXTS and self.reranker is not None:
            yield from self._by_pictures(found, each, self.reranker)
            return
        for query, (vector, page) in found.items():
            yield self._judged(query, vector, page, None, each)

    def _by_pictures(
        self, found: dict[int, tuple[Float32, list[Candidate]]], each: float, reranker: Reranker
    ) -> Iterator[Found]:
        """Ask by pictures: their tokens come in batches, and those of a missing picture not at all."""
        left = dict(found)
        begun = perf_counter()
        for some, tokens in reranker.tokens.of([self.known[i] for i in found]):
            reading = (perf_counter() - begun) / len(some)
            for row, item in enumerate(some):
                yield self._judged(item.id, *left.pop(item.id), tokens[row : row + 1], each + reading)
            begun = perf_counter()
        for query, (vector, page) in left.items():
            yield self._found(query, pack(unjudged(page), self._outsider(query, vector, page, None)), each, 0.0)

    def _judged(
        self, query: int, vector: Float32, page: Sequence[Candidate], tokens: Float32 | None, first: float
    ) -> Found:
        begun = perf_counter()
        judged = self._rerank(query, page, tokens)
        seconds = perf_counter() - begun
        return self._found(query, pack(judged, self._outsider(query, vector, page, tokens)), first, seconds)

    def _rerank(self, query: int, page: Sequence[Candidate], tokens: Float32 | None) -> list[Judged]:
        if self.reranker is None:
            return unjudged(page)
        if self.direction == IMAGES:
            return rerank_images(self.known[query].text or "", page, self.known, self.reranker)
        assert tokens is not None
        texts = {one.item_id: self.known[one.item_id].text or "" for one in page}
        return rerank_texts(tokens, page, texts, self.reranker)

    def _outsider(
        self, query: int, vector: Float32, page: Sequence[Candidate], tokens: Float32 | None
    ) -> Judged | None:
        """Look at what a page without anything right has missed: the right item that is most similar.

        The matcher reads that one too. So it can be said whether a deeper page would have brought it up.
        """
        right = self.right[query]
        if any(one.item_id in right for one in page):
            return None
        ids = np.array(sorted(right), dtype=np.int64)
        scores = similarities(vector, vectors_of(self.fold.pool(self.direction), ids))
        best = int(np.argmax(scores))
        missed = [Candidate(int(ids[best]), float(scores[best]), 0)]
        if self.direction == TEXTS and tokens is None:
            return Judged(missed[0])
        return self._rerank(query, missed, tokens)[0]

    def _found(self, query: int, rows: Rows, first: float, rerank: float) -> Found:
        return Found(self.direction, query, self.fold.number, rows, 1000 * first, 1000 * rerank)
