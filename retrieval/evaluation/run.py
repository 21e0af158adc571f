"""An evaluation run: the gallery's texts are queries, its pairs the qrels, in both directions.

Every query goes through the first stage and the rerank that serve users; there is no second retrieval path. What a
query found is given out and forgotten, so memory does not grow with queries times items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from retrieval.evaluation.benchmark import Benchmark, Fold
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, TEXTS, Found, pack
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
        # One more than is read shows whether a tie was cut through. A first pass of so many has none to give.
        wanted = self.candidates if pooled is not None and pooled <= self.candidates else self.candidates + 1
        pages = find(asked, self.fold.pool(self.direction), wanted, pooled=pooled)
        each = (perf_counter() - begun) / len(queries)
        rows = zip(queries, asked, pages, strict=True)
        opened = [_Asked(query, vector, page, self.candidates) for query, vector, page in rows]
        if self.direction == TEXTS and self.reranker is not None:
            yield from self._by_pictures(opened, each, self.reranker)
            return
        for one in opened:
            yield self._judged(one, None, each)

    def _by_pictures(self, asked: Sequence[_Asked], each: float, reranker: Reranker) -> Iterator[Found]:
        """Ask by pictures: their tokens come in batches, and those of a missing picture not at all."""
        left = {one.query: one for one in asked}
        begun = perf_counter()
        for some, tokens in reranker.tokens.of([self.known[one.query] for one in asked]):
            reading = (perf_counter() - begun) / len(some)
            for row, item in enumerate(some):
                yield self._judged(left.pop(item.id), tokens[row : row + 1], each + reading)
            begun = perf_counter()
        for one in left.values():
            yield self._found(one, unjudged(one.page), self._outsider(one, None), each, 0.0)

    def _judged(self, one: _Asked, tokens: Float32 | None, first: float) -> Found:
        begun = perf_counter()
        judged = self._rerank(one.query, one.page, tokens)
        seconds = perf_counter() - begun
        return self._found(one, judged, self._outsider(one, tokens), first, seconds)

    def _rerank(self, query: int, page: Sequence[Candidate], tokens: Float32 | None) -> list[Judged]:
        if self.reranker is None:
            return unjudged(page)
        if self.direction == IMAGES:
            return rerank_images(self.known[query].text or "", page, self.known, self.reranker)
        assert tokens is not None
        texts = {one.item_id: self.known[one.item_id].text or "" for one in page}
        return rerank_texts(tokens, page, texts, self.reranker)

    def _outsider(self, one: _Asked, tokens: Float32 | None) -> Judged | None:
        """Look at what a page without anything right has missed: the right item that is most similar.

        The matcher reads that one too. So it can be said whether a deeper page would have brought it up.
        """
        right = self.right[one.query]
        if any(found.item_id in right for found in one.page):
            return None
        ids = np.array(sorted(right), dtype=np.int64)
        scores = similarities(one.vector, vectors_of(self.fold.pool(self.direction), ids))
        best = int(np.argmax(scores))
        missed = [Candidate(int(ids[best]), float(scores[best]), 0)]
        if self.direction == TEXTS and tokens is None:
            return Judged(missed[0])
        return self._rerank(one.query, missed, tokens)[0]

    def _found(
        self, one: _Asked, judged: Sequence[Judged], outsider: Judged | None, first: float, rerank: float
    ) -> Found:
        rows = pack(judged, outsider, one.runner_up)
        return Found(self.direction, one.query, self.fold.number, rows, 1000 * first, 1000 * rerank)


@dataclass(frozen=True)
class _Asked:
    """A query, its vectors `float32 [w, d]`, and what the first stage found: the candidates, and one item more."""

    query: int
    vector: Float32
    found: Sequence[Candidate]
    candidates: int

    @property
    def page(self) -> Sequence[Candidate]:
        return self.found[: self.candidates]

    @property
    def runner_up(self) -> Candidate | None:
        return self.found[self.candidates] if len(self.found) > self.candidates else None
