"""FAISS behind the vector-store protocol: flat inner-product shards, on a GPU where there is one.

The only importer of faiss.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import packages_distributions
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from storage.errors import BadVectors, DimensionMismatch, FaissConflict
from storage.files import write_durably
from storage.vectors.store import Float32, Mask, Rows, Shard


def _import_faiss() -> Any:
    """Import FAISS, or name the command that repairs the installation.

    faiss-cpu and faiss-gpu own the same module: side by side, one silently replaces the other.
    """
    owners = sorted(set(packages_distributions().get("faiss", [])))
    if len(owners) != 1:
        raise FaissConflict(owners)
    import faiss

    return faiss


class FaissStore:
    """Flat shards: exact at any size, and fast enough up to about 1e5 vectors on a CPU."""

    index_key = "Flat"

    @cached_property
    def _faiss(self) -> Any:
        return _import_faiss()

    @cached_property
    def _threads(self) -> int:
        return int(self._faiss.omp_get_max_threads())

    @cached_property
    def _gpu(self) -> tuple[Any, Lock] | None:
        """One set of GPU resources and the lock that they need: they are not thread-safe."""
        count = getattr(self._faiss, "get_num_gpus", lambda: 0)()
        return (self._faiss.StandardGpuResources(), Lock()) if count else None

    def save(self, vectors: Float32, path: Path) -> None:
        """Write a flat shard; FAISS' own writing is not atomic."""
        index = self._flat(vectors)
        write_durably(path, lambda place: self._faiss.write_index(index, str(place)))

    def open(self, path: Path) -> Shard:
        """Open a shard that `save` wrote."""
        return self._shard(self._faiss.read_index(str(path)))

    def hold(self, vectors: Float32) -> Shard:
        """Make a shard in memory."""
        return self._shard(self._flat(vectors))

    def _flat(self, vectors: Float32) -> Any:
        index = self._faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return index

    def _shard(self, index: Any) -> Shard:
        on_cpu = CpuShard(self._faiss, index, self._threads)
        if self._gpu is None:
            return on_cpu
        return GpuShard(self._faiss, index, self._gpu, on_cpu)


class CpuShard:
    """A flat index searched on the CPU; searching is thread-safe and releases the interpreter lock."""

    def __init__(self, faiss: Any, index: Any, threads: int) -> None:
        self._faiss, self._index, self._threads = faiss, index, threads
        self.rows: int = index.ntotal

    def search(self, queries: Float32, depth: int, allowed: Mask | None) -> Rows:
        """Search exactly; forbidden rows are skipped by a bitmap while searching."""
        _check(queries, self._index.d)
        # A single query gains nothing from threads and loses their start; a batch wants all of them.
        self._faiss.omp_set_num_threads(1 if len(queries) == 1 else self._threads)
        parameters = None
        if allowed is not None:
            bitmap = np.packbits(allowed, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(len(allowed), self._faiss.swig_ptr(bitmap))
            parameters = self._faiss.SearchParameters(sel=selector)
        rows: Rows = self._index.search(queries, min(depth, self.rows), params=parameters)[1]
        return rows


class GpuShard:
    """The same index on a GPU. Its selectors are ignored there: it searches deeper and drops forbidden rows."""

    DEEPEST = 2048

    def __init__(self, faiss: Any, index: Any, gpu: tuple[Any, Lock], on_cpu: CpuShard) -> None:
        self.rows: int = index.ntotal
        self._dimension: int = index.d
        self._on_cpu = on_cpu
        resources, self._lock = gpu
        with self._lock:
            self._index = faiss.index_cpu_to_gpu(resources, 0, index)

    def search(self, queries: Float32, depth: int, allowed: Mask | None) -> Rows:
        """Search exactly; what is too deep for the GPU is searched on the CPU."""
        forbidden = 0 if allowed is None else self.rows - int(allowed.sum())
        deep = min(depth + forbidden, self.rows)
        if deep > self.DEEPEST:
            return self._on_cpu.search(queries, depth, allowed)
        _check(queries, self._dimension)
        with self._lock:
            rows: Rows = self._index.search(queries, deep)[1]
        if allowed is None:
            return rows
        return _drop(rows, allowed)[:, :depth]


def _drop(rows: Rows, allowed: Mask) -> Rows:
    """Replace forbidden rows by -1 and move what is left to the front, in order."""
    kept = np.where((rows >= 0) & allowed[rows], rows, -1)
    order = np.argsort(kept < 0, axis=1, kind="stable")
    return np.take_along_axis(kept, order, axis=1)


def _check(queries: Float32, dimension: int) -> None:
    """FAISS accepts NaN and answers nonsense: refuse it first."""
    if queries.shape[1] != dimension:
        raise DimensionMismatch(queries.shape[1], dimension)
    bad = int((~np.isfinite(queries).all(axis=1)).sum())
    if bad:
        raise BadVectors(bad)
