"""The first stage: ITC embeddings against shards, rows reduced to items, shards merged into candidates.

Only this file knows that an item may own several rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Candidate, Float32
from storage.snapshots import Part, Snapshot

SLACK = 8
"""Rows looked at beyond what was asked for, so that near-ties are ordered by exact scores and not by the index."""
TIE = 1e-6
"""Similarities closer than this may be ordered either way by an index; ours are exact."""
NUMBERS_AT_ONCE = 1 << 17
"""Numbers of vectors that are compared at a time: twice as quick as all of 1,024 items of 32 x 256, by the cache."""

Found = tuple[NDArray[np.int64], Float32]
"""Slots of a part and their exact similarities, best first."""


def find(queries: Float32, snapshot: Snapshot, n: int, *, pooled: int | None = None) -> list[list[Candidate]]:
    """Find the n items of a snapshot that are most similar to each query.

    `queries` is `float32 [q, w, d]`: w vectors per query (a text has 1). The similarity of an item with v vectors is
    the greatest of the w * v cosines (BLIP-2, section 3.1: the maximum over query tokens). Equal similarities are
    ordered by item id, so a page is always the same and a shorter one is the start of a longer one.

    `pooled` looks for so many items (at least n) by one vector each first, the mean of their v, and at the others no
    more. Similarities are the exact maximum all the same; where v is 1, nothing changes.
    """
    n, parts = min(n, snapshot.items), snapshot.parts
    if pooled is None or all(part.per_item == 1 for part in parts):
        found = [_find_in_part(queries, part, n) for part in parts]
    else:
        found = _find_by_pool(queries, parts, max(n, pooled))
    return [_merge(parts, [of_part[i] for of_part in found], n) for i in range(len(queries))]


def similarities(query: Float32, embeddings: Float32) -> Float32:
    """Exact similarities of one query `float32 [w, d]` to items `float32 [n, v, d]`: `float32 [n]`.

    Products are summed in float64, so that a score does not depend on what else was in the batch.
    """
    if not len(embeddings):
        return np.zeros(0, dtype=np.float32)
    products = np.einsum("nvd,wd->nvw", embeddings.astype(np.float64), query.astype(np.float64))
    greatest: Float32 = products.max(axis=(1, 2)).astype(np.float32)
    return greatest


def vectors_of(snapshot: Snapshot, ids: NDArray[np.int64]) -> Float32:
    """Read the embeddings of items that the snapshot holds, in the order asked for: `float32 [n, v, d]`."""
    rows: dict[int, Float32] = {}
    for part in snapshot.parts:
        slots = np.flatnonzero(np.isin(part.ids, ids) & part.alive)
        rows.update(zip(part.ids[slots].tolist(), part.vectors(slots), strict=True))
    return np.stack([rows[i] for i in ids.tolist()])


def _find_in_part(queries: Float32, part: Part, n: int) -> list[Found]:
    """Find each query's n best items of one part."""
    count, _, dimension = queries.shape
    per_item = part.per_item
    allowed = None if part.alive.all() else np.repeat(part.alive, per_item)
    living = int(part.alive.sum())
    wanted = min(n, living)
    results: list[Found] = [_nothing()] * count
    open_queries, depth = list(range(count)), (wanted + SLACK) * per_item
    while open_queries and wanted:
        flat = np.ascontiguousarray(queries[open_queries]).reshape(-1, dimension)
        rows = part.shard.search(flat, depth, allowed).reshape(len(open_queries), -1)
        everything = depth >= part.shard.rows
        still_open = []
        for i, found in zip(open_queries, rows, strict=True):
            slots, scores = _compare(queries[i], part, np.unique(found[found >= 0] // per_item))
            results[i] = (slots[:wanted], scores[:wanted])
            # Deeper when rows of few items crowded the others out, or when a tie runs across the end of what was seen.
            crowded = len(slots) < wanted
            tied = len(slots) >= wanted and scores[wanted - 1] - scores[-1] <= TIE
            if (crowded or tied) and not everything and len(slots) < living:
                still_open.append(i)
        open_queries, depth = still_open, min(4 * depth, part.shard.rows)
    return results


def _find_by_pool(queries: Float32, parts: Sequence[Part], pooled: int) -> list[list[Found]]:
    """Find the items of all parts together that are best by one vector each, and compare them by all of theirs.

    Gives for each part what each query found in it, as `_find_in_part` does for one.
    """
    first = [_find_in_part(queries, part.pooled, pooled) for part in parts]
    handed_on = [_best_slots(parts, [of_part[i] for of_part in first], pooled) for i in range(len(queries))]
    return [
        [_compare(query, part, slots[number]) for query, slots in zip(queries, handed_on, strict=True)]
        for number, part in enumerate(parts)
    ]


def _best_slots(parts: Sequence[Part], found: Sequence[Found], most: int) -> list[NDArray[np.int64]]:
    """Choose the best of what one query found in all parts: their slots, part by part."""
    ids = np.concatenate([part.ids[slots] for part, (slots, _) in zip(parts, found, strict=True)])
    scores = np.concatenate([scores for _, scores in found])
    is_best = np.zeros(len(ids), dtype=bool)
    is_best[_order(ids, scores)[:most]] = True
    borders = np.cumsum([len(slots) for slots, _ in found])[:-1]
    return [slots[best] for (slots, _), best in zip(found, np.split(is_best, borders), strict=True)]


def _compare(query: Float32, part: Part, slots: NDArray[np.int64]) -> Found:
    """Compare a query `float32 [w, d]` with all vectors of some items, and put the best first."""
    items = max(1, NUMBERS_AT_ONCE // (part.per_item * query.shape[1]))
    stretches = (slots[start : start + items] for start in range(0, len(slots), items))
    scores = np.concatenate([np.zeros(0, np.float32), *(similarities(query, part.vectors(some)) for some in stretches)])
    order = _order(part.ids[slots], scores)
    return slots[order], scores[order]


def _merge(parts: Sequence[Part], found: Sequence[Found], n: int) -> list[Candidate]:
    """Order the best items of all parts."""
    if not parts:
        return []
    ids = np.concatenate([part.ids[slots] for part, (slots, _) in zip(parts, found, strict=True)])
    scores = np.concatenate([scores for _, scores in found])
    order = _order(ids, scores)[:n]
    return [Candidate(int(ids[i]), float(scores[i]), rank) for rank, i in enumerate(order, start=1)]


def _order(ids: NDArray[np.int64], scores: Float32) -> NDArray[np.int64]:
    """Put the greatest scores first, equal ones by item id."""
    return np.lexsort((ids, -scores))


def _nothing() -> Found:
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
