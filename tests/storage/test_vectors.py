"""Block files and FAISS shards: what is appended stays, what is searched is exact, what is nonsense is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.errors import BadVectors, BlockDamaged, DimensionMismatch, FaissConflict
from storage.vectors import faiss_shards
from storage.vectors.blocks import Block
from storage.vectors.faiss_shards import FaissStore


def unit(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


@pytest.fixture
def block(tmp_path: Path) -> Block:
    made = Block(tmp_path / "gallery-1" / "image-1.f32", vectors=1, dimension=2)
    with made.locked():
        made.append(unit([1, 0], [0, 1])[:, None], end=0)
    return made


def test_a_block_gives_back_what_was_appended(block: Block) -> None:
    assert np.array_equal(block.read(end=2)[:, 0], unit([1, 0], [0, 1]))


def test_an_append_cuts_off_what_sql_never_acknowledged(block: Block) -> None:
    block.append(unit([0.5, 0.5])[:, None], end=1)
    assert np.array_equal(block.read(end=2)[:, 0], unit([1, 0], [0.5, 0.5]))
    assert block.path.stat().st_size == 2 * block.row_bytes


def test_a_block_that_lost_acknowledged_rows_is_an_error(block: Block) -> None:
    with pytest.raises(BlockDamaged, match="holds 2 rows where 3"):
        block.read(end=3)
    with pytest.raises(BlockDamaged):
        block.append(unit([1, 1])[:, None], end=3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_refuses_numbers_that_are_none(block: Block, bad: float) -> None:
    with pytest.raises(BadVectors, match="1 vectors"):
        block.append(unit([bad, 0])[:, None], end=2)


def test_a_block_refuses_vectors_of_another_size(block: Block) -> None:
    with pytest.raises(DimensionMismatch):
        block.append(np.zeros((1, 1, 3), dtype=np.float32), end=2)


def test_a_saved_shard_answers_as_the_one_in_memory(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)
    store = FaissStore()
    store.save(vectors, tmp_path / "a.faiss")
    queries = vectors[:3]
    opened, held = store.open(tmp_path / "a.faiss"), store.hold(vectors)
    assert np.array_equal(opened.search(queries, 10, None), held.search(queries, 10, None))
    assert [path.name for path in tmp_path.iterdir()] == ["a.faiss"]


def test_a_search_gives_the_best_rows_first() -> None:
    shard = FaissStore().hold(unit([1, 0], [0, 1], [0.6, 0.8]))
    assert shard.search(unit([1, 0]), 3, None).tolist() == [[0, 2, 1]]


def test_a_forbidden_row_never_comes_back() -> None:
    shard = FaissStore().hold(unit([1, 0], [0, 1], [0.6, 0.8]))
    rows = shard.search(unit([1, 0]), 3, np.array([False, True, True]))
    assert rows.tolist() == [[2, 1, -1]]


def test_a_search_refuses_a_query_that_is_no_number() -> None:
    shard = FaissStore().hold(unit([1, 0]))
    with pytest.raises(BadVectors):
        shard.search(unit([np.nan, 0]), 1, None)
    with pytest.raises(DimensionMismatch):
        shard.search(np.zeros((1, 3), dtype=np.float32), 1, None)


def test_dropping_forbidden_rows_keeps_the_order_of_the_others() -> None:
    rows = np.array([[3, 0, 2, 1], [1, 2, -1, -1]])
    dropped = faiss_shards._drop(rows, np.array([True, True, False, True]))
    assert dropped.tolist() == [[3, 0, 1, -1], [1, -1, -1, -1]]


@pytest.mark.parametrize(("owners", "said"), [([], "pip install"), (["faiss-cpu", "faiss-gpu"], "pip uninstall -y")])
def test_a_broken_faiss_installation_names_the_command_that_repairs_it(owners: list[str], said: str) -> None:
    assert said in str(FaissConflict(owners))


@pytest.mark.gpu
def test_a_gpu_finds_the_same_rows_as_the_cpu() -> None:
    faiss = pytest.importorskip("faiss")
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        pytest.skip("faiss sees no GPU here")
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(5000, 64)).astype(np.float32)
    on_gpu = FaissStore().hold(vectors)
    on_cpu = faiss_shards.CpuShard(faiss, FaissStore()._flat(vectors), 1)
    allowed = generator.random(5000) > 0.1
    for mask in (None, allowed):
        assert np.array_equal(on_gpu.search(vectors[:20], 50, mask), on_cpu.search(vectors[:20], 50, mask))
