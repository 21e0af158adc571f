"""Snapshots: the published, immutable state of one kind of a gallery's items, ready to be searched.

A snapshot is a list of parts: one per sealed shard, and one in memory for the rows behind the last seal (the delta).
Sealing, merging and repairing shards are here too, because they only move the border between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select

from storage import galleries
from storage.db import Database, Session
from storage.files import sha256, write_durably
from storage.galleries import Gallery
from storage.tables import BlockTable, ItemTable, ShardTable
from storage.vectors.blocks import Block
from storage.vectors.store import Float32, Mask, Shard, VectorStore

Ids = NDArray[np.int64]

SHARD_ROWS = 65_536
"""Items in a full shard: flat search stays exact and cheap to rebuild."""
SEAL_ROWS = 1_000
"""A smaller delta is not worth a file: it is rebuilt in milliseconds."""
DEAD_SHARE = 0.2
"""A shard is rewritten when more than this share of its items was deleted."""
POOL_ROWS = 1_000
"""Items whose vectors are averaged at a time."""


class Pool:
    """One vector for each slot of a part, in place of v: made when it is first asked for, and then kept.

    Memory for n slots: 2 * 4 * n * d bytes, the vectors and their shard; v vectors of each lie in the part's own shard.
    """

    def __init__(self, store: VectorStore, embeddings: Float32, slots: Ids) -> None:
        """Pool the rows of some slots of a block `float32 [rows, v, d]`."""
        self._store, self._embeddings, self._slots = store, embeddings, slots
        self._made: tuple[Shard, Float32] | None = None
        self._lock = Lock()

    def made(self) -> tuple[Shard, Float32]:
        """Give the shard and the vectors behind it, `float32 [n, 1, d]`."""
        with self._lock:
            if self._made is None:
                vectors = _means(self._embeddings, self._slots)
                self._made = self._store.hold(vectors[:, 0]), vectors
            return self._made


@dataclass(frozen=True)
class Part:
    """A shard and what its rows mean. Slot i of a part owns the shard's rows [i * v, (i + 1) * v)."""

    shard: Shard
    ids: Ids
    alive: Mask
    embeddings: Float32
    slots: Ids
    pool: Pool

    @property
    def per_item(self) -> int:
        """v: how many rows an item owns."""
        return self.shard.rows // len(self.ids)

    @property
    def pooled(self) -> Part:
        """The same items with one vector each, the mean of their rows, L2-normalised."""
        if self.per_item == 1:
            return self
        shard, vectors = self.pool.made()
        return replace(self, shard=shard, embeddings=vectors, slots=np.arange(len(self.ids)))

    def vectors(self, slots: Ids) -> Float32:
        """Read the exact vectors of some slots: `float32 [n, v, d]`."""
        return self.embeddings[self.slots[slots]]


@dataclass(frozen=True)
class Snapshot:
    """What one revision of a gallery holds of one kind."""

    gallery: Gallery
    kind: str
    revision: int
    parts: tuple[Part, ...]

    @property
    def items(self) -> int:
        """How many items can be found."""
        return sum(int(part.alive.sum()) for part in self.parts)

    def without(self, ids: Ids) -> Snapshot:
        """Give the same state as if some items had been deleted."""
        parts = (replace(part, alive=part.alive & ~np.isin(part.ids, ids)) for part in self.parts)
        return replace(self, parts=tuple(parts))


@dataclass(frozen=True)
class _Opened:
    """A sealed shard as it was opened once: everything but who has died since."""

    shard: Shard
    ids: Ids
    slots: Ids
    pool: Pool


@dataclass(frozen=True)
class _Seal:
    """A shard to be written over the block rows [start, stop), in place of others."""

    block_id: int
    start: int
    stop: int
    replaced: tuple[int, ...]


class Snapshots:
    """Gives the snapshot of the newest revision; shards that stay are opened once."""

    def __init__(self, store: VectorStore, folder: Path) -> None:
        """Search shards with `store`; blocks and shards lie below `folder`."""
        self.store, self.folder = store, folder
        self._lock = Lock()
        self._newest: dict[tuple[int, str], Snapshot] = {}
        self._opened: dict[tuple[int, str], dict[int, _Opened]] = {}

    def newest(self, session: Session, gallery: Gallery, kind: str) -> Snapshot:
        """Give the snapshot that the database publishes now."""
        key, revision = (gallery.id, kind), galleries.revision(session, gallery.id)
        with self._lock:
            known = self._newest.get(key)
            if known is None or known.revision != revision or known.gallery.fingerprint != gallery.fingerprint:
                known = Snapshot(gallery, kind, revision, tuple(self._parts(session, gallery, kind)))
                self._newest[key] = known
            return known

    def block(self, gallery: Gallery, kind: str, path: str) -> Block:
        """Name a block file and the shape of its rows: a picture has v vectors, a text one."""
        assert gallery.dimension is not None
        assert gallery.vectors is not None
        return Block(self.folder / path, gallery.vectors if kind == "image" else 1, gallery.dimension)

    def seal(self, database: Database, gallery: Gallery, holder: str) -> None:
        """Move the delta into shards where it is large enough, merge small neighbours, rewrite decayed shards."""
        for kind in ("image", "text"):
            with database.reading() as session:
                plan = self._plan(session, gallery, kind)
            for seal in plan:
                self._write_shard(database, gallery, holder, kind, seal)

    def repair(self, database: Database, gallery: Gallery, holder: str) -> None:
        """Drop files that no row names and write shards again that are missing or damaged."""
        with database.reading() as session:
            shards = session.scalars(select(ShardTable).where(ShardTable.gallery_id == gallery.id)).all()
            blocks = session.scalars(select(BlockTable.path).where(BlockTable.gallery_id == gallery.id)).all()
        named = {self.folder / path for path in blocks}
        named |= {place for shard in shards for place in self._places(shard.path)}
        for path in (self.folder / f"gallery-{gallery.id}").glob("*"):
            if path not in named:
                path.unlink()
        for shard in shards:
            if not self._is_sound(shard):
                again = _Seal(shard.block_id, shard.start, shard.stop, (shard.id,))
                self._write_shard(database, gallery, holder, shard.kind, again)

    def drop_files(self, gallery_id: int) -> None:
        """Delete the files of a gallery that SQL has forgotten."""
        folder = self.folder / f"gallery-{gallery_id}"
        for path in folder.glob("*"):
            path.unlink()
        if folder.exists():
            folder.rmdir()

    def _parts(self, session: Session, gallery: Gallery, kind: str) -> list[Part]:
        dead = _dead_ids(session, gallery.id, kind)
        before = self._opened.get((gallery.id, kind), {})
        opened: dict[int, _Opened] = {}
        parts: list[Part] = []
        for block in _blocks(session, gallery.id, kind):
            embeddings = self.block(gallery, kind, block.path).read(end=block.rows)
            sealed = 0
            for row in _shards(session, block.id):
                one = opened[row.id] = before.get(row.id) or self._open(session, row, embeddings)
                sealed = row.stop
                # A shard whose items have all died keeps its row: it says how far the block is sealed.
                if len(one.ids):
                    alive = ~np.isin(one.ids, dead)
                    parts.append(Part(one.shard, one.ids, alive, embeddings, one.slots, one.pool))
            ids, slots = _living_rows(session, block.id, sealed, block.rows)
            if len(ids):
                delta = self.store.hold(_rows(embeddings, slots))
                pool = Pool(self.store, embeddings, slots)
                parts.append(Part(delta, ids, np.ones(len(ids), dtype=bool), embeddings, slots, pool))
        self._opened[gallery.id, kind] = opened
        return parts

    def _open(self, session: Session, row: ShardTable, embeddings: Float32) -> _Opened:
        """Open a shard; one that is missing or damaged is made again from its block and held in memory."""
        index, items = self._places(row.path)
        # A writer may merge shards and drop the old files at any moment: that reads as a missing file.
        with suppress(OSError, RuntimeError):
            if self._is_sound(row):
                ids, slots = np.load(items)
                return _Opened(self.store.open(index), ids, slots, Pool(self.store, embeddings, slots))
        ids, slots = _living_rows(session, row.block_id, row.start, row.stop)
        shard = self.store.hold(_rows(embeddings, slots))
        return _Opened(shard, ids, slots, Pool(self.store, embeddings, slots))

    def _is_sound(self, row: ShardTable) -> bool:
        places = self._places(row.path)
        return all(place.exists() for place in places) and sha256(*places) == row.sha256

    def _places(self, path: str) -> tuple[Path, Path]:
        """Name a shard's two files: the index, and the item ids and block rows of its slots."""
        return self.folder / f"{path}.faiss", self.folder / f"{path}.npy"

    def _plan(self, session: Session, gallery: Gallery, kind: str) -> list[_Seal]:
        plan: list[_Seal] = []
        for block in _blocks(session, gallery.id, kind):
            shards = _shards(session, block.id)
            plan += _seal_delta(block, shards)
            replaced = {shard_id for seal in plan for shard_id in seal.replaced}
            for shard in shards:
                living = len(_living_rows(session, block.id, shard.start, shard.stop)[0])
                if shard.id not in replaced and living < (1 - DEAD_SHARE) * shard.rows:
                    plan.append(_Seal(block.id, shard.start, shard.stop, (shard.id,)))
        return plan

    def _write_shard(self, database: Database, gallery: Gallery, holder: str, kind: str, seal: _Seal) -> None:
        with database.reading() as session:
            block = session.get_one(BlockTable, seal.block_id)
            ids, slots = _living_rows(session, seal.block_id, seal.start, seal.stop)
        embeddings = self.block(gallery, kind, block.path).read(end=block.rows)
        path = f"gallery-{gallery.id}/{kind}-{seal.block_id}-{seal.start}-{seal.stop}-{uuid4().hex[:8]}"
        index, items = self._places(path)
        self.store.save(_rows(embeddings, slots), index)
        write_durably(items, lambda place: _save_array(place, np.stack([ids, slots])))
        with database.writing() as session:
            galleries.renew_lease(session, gallery, holder)
            old = session.scalars(select(ShardTable).where(ShardTable.id.in_(seal.replaced))).all()
            session.execute(delete(ShardTable).where(ShardTable.id.in_(seal.replaced)))
            session.add(
                ShardTable(
                    gallery_id=gallery.id,
                    kind=kind,
                    block_id=seal.block_id,
                    start=seal.start,
                    stop=seal.stop,
                    path=path,
                    sha256=sha256(index, items),
                    rows=len(ids),
                    index_key=self.store.index_key,
                    parameters={},
                    measured_recall=1.0,
                )
            )
            galleries.raise_revision(session, gallery.id)
        for place in (place for shard in old for place in self._places(shard.path)):
            place.unlink(missing_ok=True)


def _seal_delta(block: BlockTable, shards: Sequence[ShardTable]) -> list[_Seal]:
    """Cut the rows behind the last shard into shards; a small last one takes in its small neighbours.

    A shard is merged with the one before it while that is at most twice as large, so n items lie in O(log n) shards
    however they arrived.
    """
    start = shards[-1].stop if shards else 0
    plan: list[_Seal] = []
    while block.rows - start >= SHARD_ROWS:
        plan.append(_Seal(block.id, start, start + SHARD_ROWS, ()))
        start += SHARD_ROWS
    if block.rows - start < SEAL_ROWS:
        return plan
    replaced: list[int] = []
    for shard in reversed([] if plan else shards):
        if shard.stop - shard.start > 2 * (block.rows - start) or block.rows - shard.start > SHARD_ROWS:
            break
        start = shard.start
        replaced.append(shard.id)
    return [*plan, _Seal(block.id, start, block.rows, tuple(replaced))]


def _rows(embeddings: Float32, slots: Ids) -> Float32:
    """Gather the vectors of slots `float32 [n, v, d]` as rows `float32 [n * v, d]`."""
    return np.ascontiguousarray(embeddings[slots]).reshape(-1, embeddings.shape[2])


def _means(embeddings: Float32, slots: Ids) -> Float32:
    """Average the v vectors of each slot and give the means unit length: `float32 [n, 1, d]`.

    Vectors that cancel out have no direction: such a mean stays zero, and is similar to nothing.
    """
    means = np.zeros((len(slots), 1, embeddings.shape[2]), dtype=np.float32)
    for start in range(0, len(slots), POOL_ROWS):
        # A block is mapped and may be larger than memory: a stretch at a time.
        mean = embeddings[slots[start : start + POOL_ROWS]].mean(axis=1, keepdims=True, dtype=np.float64)
        length = np.linalg.norm(mean, axis=2, keepdims=True)
        means[start : start + POOL_ROWS] = mean / np.where(length > 0, length, 1)
    return means


def _save_array(path: Path, array: Ids) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _blocks(session: Session, gallery_id: int, kind: str) -> Sequence[BlockTable]:
    query = select(BlockTable).where(BlockTable.gallery_id == gallery_id, BlockTable.kind == kind)
    return session.scalars(query.order_by(BlockTable.id)).all()


def _shards(session: Session, block_id: int) -> Sequence[ShardTable]:
    return session.scalars(select(ShardTable).where(ShardTable.block_id == block_id).order_by(ShardTable.start)).all()


def _dead_ids(session: Session, gallery_id: int, kind: str) -> Ids:
    query = select(ItemTable.id).where(
        ItemTable.gallery_id == gallery_id,
        ItemTable.kind == kind,
        ItemTable.state == "deleted",
        ItemTable.row.is_not(None),
    )
    return np.array(session.scalars(query).all(), dtype=np.int64)


def _living_rows(session: Session, block_id: int, start: int, stop: int) -> tuple[Ids, Ids]:
    """Read the item ids and block rows in [start, stop) that can be found, by row."""
    query = select(ItemTable.id, ItemTable.row).where(
        ItemTable.block_id == block_id, ItemTable.row >= start, ItemTable.row < stop, ItemTable.state == "embedded"
    )
    found = np.array([tuple(row) for row in session.execute(query.order_by(ItemTable.row))], dtype=np.int64)
    return (found[:, 0], found[:, 1]) if len(found) else (found, found)
