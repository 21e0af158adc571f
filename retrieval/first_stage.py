"""The first stage: ITC embeddings against shards, rows reduced to items, shards merged into candidates.

Only this file knows that an item may own several rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Candidate, Float32
from storage.snapshots import Part, Snapshot

SLACK = 8
"""Rows looked at beyond what was asked for, so that near-ties are ordered by exact scores and not by the index."""
TIE = 1e-6
"""Similarities closer than this may be ordered either way by an index; ours are exact."""


def find(queries: Float32, snapshot: Snapshot, n: int) -> list[list[Candidate]]:
    """Find the n items of a snapshot that are most similar to each query.

    `queries` is `float32 [q, w, d]`: w vectors per query (a text has 1). The similarity of an item with v vectors is
    the greatest of the w * v cosines (BLIP-2, section 3.1: the maximum over query tokens). Equal similarities are
    ordered by item id, so a page is always the same and a shorter one is the start of a longer one.
    """
    n = min(n, snapshot.items)
    found = [_find_in_part(queries, part, n) for part in snapshot.parts]
    return [_merge([part[i] for part in found], n) for i in range(len(queries))]


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


def _find_in_part(queries: Float32, part: Part, n: int) -> list[tuple[NDArray[np.int64], Float32]]:
    """Give each query's best items of one part: ids and exact similarities, best first."""
    count, _, dimension = queries.shape
    per_item = part.shard.rows // len(part.ids)
    allowed = None if part.alive.all() else np.repeat(part.alive, per_item)
    living = int(part.alive.sum())
    wanted = min(n, living)
    results: list[tuple[NDArray[np.int64], Float32]] = [_nothing()] * count
    open_queries, depth = list(range(count)), (wanted + SLACK) * per_item
    while open_queries and wanted:
        flat = np.ascontiguousarray(queries[open_queries]).reshape(-1, dimension)
        rows = part.shard.search(flat, depth, allowed).reshape(len(open_queries), -1)
        everything = depth >= part.shard.rows
        still_open = []
        for i, found in zip(open_queries, rows, strict=True):
            slots = np.unique(found[found >= 0] // per_item)
            scores = similarities(queries[i], part.vectors(slots))
            order = np.lexsort((part.ids[slots], -scores))
            results[i] = (part.ids[slots][order][:wanted], scores[order][:wanted])
            # Deeper when rows of few items crowded the others out, or when a tie runs across the end of what was seen.
            crowded = len(slots) < wanted
            tied = len(slots) >= wanted and scores[order[wanted - 1]] - scores[order[-1]] <= TIE
            if (crowded or tied) and not everything and len(slots) < living:
                still_open.append(i)
        open_queries, depth = still_open, min(4 * depth, part.shard.rows)
    return results


def _merge(parts: list[tuple[NDArray[np.int64], Float32]], n: int) -> list[Candidate]:
    """Order the best items of all parts."""
    if not parts:
        return []
    ids = np.concatenate([part[0] for part in parts])
    scores = np.concatenate([part[1] for part in parts])
    order = np.lexsort((ids, -scores))[:n]
    return [Candidate(int(ids[i]), float(scores[i]), rank) for rank, i in enumerate(order, start=1)]


def _nothing() -> tuple[NDArray[np.int64], Float32]:
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
