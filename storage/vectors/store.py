"""What a vector store must do. FAISS does it in faiss_shards.py."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Shard(Protocol):
    """Vectors that can be searched; rows are numbered from 0 within the shard."""

    @property
    def rows(self) -> int:
        """How many vectors it holds."""
        ...

    def search(self, queries: Float32, depth: int, allowed: Mask | None) -> Rows:
        """Find up to `depth` rows of greatest inner product for each query `float32 [q, d]`.

        `allowed` is a mask over the rows; None allows all. Returns `int64 [q, <= depth]`, best first, padded
        with -1. Scores are not returned: they are computed exactly from the blocks.
        """
        ...


class VectorStore(Protocol):
    """Builds, opens and names shards."""

    @property
    def index_key(self) -> str:
        """What kind of index it builds, as its library spells it."""
        ...

    def save(self, vectors: Float32, path: Path) -> None:
        """Write a shard of `float32 [rows, d]` to a path that does not exist yet; atomic and durable."""
        ...

    def open(self, path: Path) -> Shard:
        """Open a shard that `save` wrote."""
        ...

    def hold(self, vectors: Float32) -> Shard:
        """Make a shard in memory: the delta of rows that are not sealed yet."""
        ...
