"""Block files: the embeddings themselves, float32, appended and never changed. SQL says where a block ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storage.errors import BadVectors, BlockDamaged, DimensionMismatch
from storage.files import sync_folder
from storage.vectors.store import Float32


@dataclass(frozen=True)
class Block:
    """A file of rows, each the v vectors of one item: `float32 [rows, v, d]`."""

    path: Path
    vectors: int
    dimension: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one item."""
        return 4 * self.vectors * self.dimension

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of this host out from before the append until after SQL has committed its end.

        The lease already makes one writer; this holds when a writer was stopped so long that its lease ran out.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("ab") as file:
            if new:
                sync_folder(self.path.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def append(self, embeddings: Float32, *, end: int) -> None:
        """Write `float32 [n, v, d]` behind row `end`, durably; what a killed writer left there is cut off."""
        if embeddings.shape[1:] != (self.vectors, self.dimension):
            raise DimensionMismatch(embeddings.shape[-1], self.dimension)
        bad = int((~np.isfinite(embeddings).all(axis=(1, 2))).sum())
        if bad:
            raise BadVectors(bad)
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size < end * self.row_bytes:
                raise BlockDamaged(str(self.path), size // self.row_bytes, end)
            file.truncate(end * self.row_bytes)
            file.seek(end * self.row_bytes)
            file.write(np.ascontiguousarray(embeddings, dtype="<f4").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def read(self, *, end: int) -> Float32:
        """Map the acknowledged rows `float32 [end, v, d]`; nothing is read until it is looked at."""
        shape = (end, self.vectors, self.dimension)
        if end == 0:
            return np.zeros(shape, dtype=np.float32)
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < end * self.row_bytes:
            raise BlockDamaged(str(self.path), size // self.row_bytes, end)
        return np.memmap(self.path, dtype="<f4", mode="r", shape=shape)
