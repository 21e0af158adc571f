"""Sealing, merging, rewriting and repairing shards never changes what a search finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval.first_stage import find
from storage import galleries, items, snapshots
from storage.db import Database
from storage.galleries import Gallery
from storage.items import NewItem
from storage.lease import write_lease
from storage.snapshots import Snapshot, Snapshots
from storage.tables import ShardTable
from storage.vectors.faiss_shards import FaissStore

D = 4


class World:
    """A gallery whose items are points that the test chooses."""

    def __init__(self, database: Database, folder: Path, *, vectors: int = 1, name: str = "points") -> None:
        self.database, self.vectors = database, vectors
        self.snapshots = Snapshots(FaissStore(), folder)
        with database.writing() as session:
            made = galleries.create(session, name)
            self.gallery: Gallery = galleries.fix_model(
                session, made, model="none", fingerprint="f", dimension=D, vectors=vectors
            )
        self.added = 0

    def add(self, count: int) -> list[int]:
        """Publish random unit vectors as the builder does."""
        vectors = np.random.default_rng(self.added).normal(size=(count, self.vectors, D)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        new = [NewItem("image", f"/{self.added + i}", "/") for i in range(count)]
        self.added += count
        with self.database.writing() as session:
            ids = items.announce(session, self.gallery.id, new)
            block_id, path = items.open_block(session, self.gallery.id, "image", room_for=count, limit=1 << 20)
            end = items.block_end(session, block_id)
            block = self.snapshots.block(self.gallery, "image", path)
            with block.locked():
                block.append(vectors, end=end)
            items.publish_embedded(session, block_id, end, ids)
            galleries.raise_revision(session, self.gallery.id)
        return ids

    def bury(self, ids: list[int]) -> None:
        with self.database.writing() as session:
            items.bury(session, ids)
            galleries.raise_revision(session, self.gallery.id)

    def seal(self) -> None:
        with write_lease(self.database, self.gallery) as holder:
            self.snapshots.seal(self.database, self.gallery, holder)

    def repair(self) -> None:
        with write_lease(self.database, self.gallery) as holder:
            self.snapshots.repair(self.database, self.gallery, holder)

    def shards(self) -> list[tuple[int, int, int]]:
        with self.database.reading() as session:
            rows = session.query(ShardTable).order_by(ShardTable.start).all()
            return [(row.start, row.stop, row.rows) for row in rows]

    def snapshot(self, reader: Snapshots | None = None) -> Snapshot:
        with self.database.reading() as session:
            return (reader or self.snapshots).newest(session, self.gallery, "image")

    def page(self, reader: Snapshots | None = None) -> list[tuple[int, float]]:
        query = np.array([[[0.5, 0.5, 0.5, 0.5]]], dtype=np.float32)
        return [(one.item_id, one.similarity) for one in find(query, self.snapshot(reader), 20)[0]]

    def files(self) -> list[Path]:
        return sorted((self.snapshots.folder / f"gallery-{self.gallery.id}").glob("*"))


@pytest.fixture
def world(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(snapshots, "SEAL_ROWS", 10)
    monkeypatch.setattr(snapshots, "SHARD_ROWS", 100)
    return World(database, tmp_path / "vectors")


def test_a_small_delta_is_not_sealed(world: World) -> None:
    world.add(9)
    world.seal()
    assert world.shards() == []
    assert len(world.page()) == 9


def test_sealing_changes_no_page(world: World) -> None:
    world.add(50)
    before = world.page()
    world.seal()
    assert world.shards() == [(0, 50, 50)]
    assert world.page() == before
    assert world.page(Snapshots(FaissStore(), world.snapshots.folder)) == before


def test_a_large_delta_becomes_full_shards(world: World) -> None:
    world.add(250)
    world.seal()
    assert world.shards() == [(0, 100, 100), (100, 200, 100), (200, 250, 50)]


def test_small_shards_are_merged_so_that_their_number_stays_small(world: World) -> None:
    for _ in range(9):
        world.add(10)
        world.seal()
    assert len(world.shards()) <= 4
    assert world.shards()[-1][1] == 90
    assert len(world.files()) == 1 + 2 * len(world.shards())


def test_items_added_after_a_seal_are_found_with_the_sealed_ones(world: World) -> None:
    world.add(30)
    world.seal()
    world.add(5)
    assert len({item_id for item_id, _ in world.page()} & set(range(1, 36))) == 20


def test_deleted_items_leave_the_page_at_once_and_the_shard_when_many_are_dead(world: World) -> None:
    ids = world.add(50)
    world.seal()
    before = world.page()
    dead = [item_id for item_id, _ in before[:5]]
    world.bury(dead)
    assert [item_id for item_id, _ in world.page()][:15] == [item_id for item_id, _ in before[5:]]
    world.bury([i for i in ids if i not in dead][:10])
    page = world.page()
    world.seal()
    assert world.shards() == [(0, 50, 35)]
    assert world.page() == page
    world.seal()
    assert world.shards() == [(0, 50, 35)]


def test_a_damaged_or_missing_shard_is_rebuilt_from_its_block(world: World) -> None:
    world.add(30)
    world.seal()
    page = world.page()
    index = next(path for path in world.files() if path.suffix == ".faiss")
    index.write_bytes(b"rubbish")
    assert world.page(Snapshots(FaissStore(), world.snapshots.folder)) == page
    index.unlink()
    assert world.page(Snapshots(FaissStore(), world.snapshots.folder)) == page
    world.repair()
    assert world.page(Snapshots(FaissStore(), world.snapshots.folder)) == page
    assert sum(path.suffix == ".faiss" for path in world.files()) == 1


def test_files_that_no_row_names_are_dropped(world: World) -> None:
    world.add(30)
    world.seal()
    stray = world.files()[0].parent / "image-1-0-30-deadbeef.faiss.123.tmp"
    stray.write_bytes(b"half")
    world.repair()
    assert not stray.exists()
    assert len(world.files()) == 3


def test_a_reader_keeps_its_snapshot_while_the_writer_goes_on(world: World) -> None:
    world.add(30)
    world.seal()
    held = world.snapshot()
    query = np.array([[[1, 0, 0, 0]]], dtype=np.float32)
    before = find(query, held, 10)
    world.bury([candidate.item_id for candidate in before[0]])
    world.add(40)
    world.seal()
    assert find(query, held, 10) == before


def test_a_sealed_shard_is_pooled_once_and_finds_the_same_as_before_it_was_sealed(world: World, tmp_path: Path) -> None:
    several = World(world.database, tmp_path / "several", vectors=3, name="several")
    ids = several.add(60)
    query = np.array([[[0.5, 0.5, 0.5, 0.5]]], dtype=np.float32)
    before = find(query, several.snapshot(), 5, pooled=8)
    several.seal()
    (sealed,) = several.snapshot().parts
    assert find(query, several.snapshot(), 5, pooled=8) == before
    several.bury([candidate.item_id for candidate in before[0]])
    several.add(5)
    (again, delta) = several.snapshot().parts
    assert again.pooled.shard is sealed.pooled.shard
    assert (again.pooled.shard.rows, delta.pooled.shard.rows) == (60, 5)
    found = {candidate.item_id for candidate in find(query, several.snapshot(), 65, pooled=65)[0]}
    assert found.isdisjoint(candidate.item_id for candidate in before[0])
    assert len(found) == 60
    assert found >= set(ids) - {candidate.item_id for candidate in before[0]}
