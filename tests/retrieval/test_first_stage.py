"""The first stage is exact: ties by id, deletions out, several vectors an item reduced to one."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.first_stage import find, similarities
from storage.galleries import Gallery
from storage.snapshots import Part, Snapshot
from storage.vectors.faiss_shards import FaissStore

GALLERY = Gallery(1, "g", "m", "f", 2, 1, 1, ())


def part(embeddings: np.ndarray, *, first_id: int = 1, dead: tuple[int, ...] = ()) -> Part:
    """A part over `[n, v, d]` whose items are numbered from `first_id`."""
    ids = np.arange(first_id, first_id + len(embeddings))
    shard = FaissStore().hold(np.ascontiguousarray(embeddings.reshape(-1, embeddings.shape[2])))
    return Part(shard, ids, ~np.isin(ids, dead), embeddings, np.arange(len(embeddings)))


def snapshot(*parts: Part) -> Snapshot:
    return Snapshot(GALLERY, "image", 1, parts)


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)[:, None]


def ids(query: list[float], of: Snapshot, n: int) -> list[int]:
    return [one.item_id for one in find(np.array([[query]], dtype=np.float32), of, n)[0]]


def test_candidates_come_by_similarity() -> None:
    assert ids([1, 0], snapshot(part(vectors([0, 1], [1, 0], [0.6, 0.8]))), 3) == [2, 3, 1]


def test_equal_similarities_are_ordered_by_id_across_parts() -> None:
    same = vectors(*[[1, 0]] * 40)
    of = snapshot(part(same, first_id=41), part(same, first_id=1))
    assert ids([1, 0], of, 5) == [1, 2, 3, 4, 5]
    assert ids([1, 0], of, 60) == list(range(1, 61))


def test_a_shorter_page_is_the_start_of_a_longer_one() -> None:
    random = np.random.default_rng(3).integers(-2, 3, size=(200, 1, 4)).astype(np.float32)
    of = snapshot(part(random[:120]), part(random[120:], first_id=121))
    longest = ids([1, 1, 0, 0], of, 200)
    for n in (1, 5, 15, 50):
        assert ids([1, 1, 0, 0], of, n) == longest[:n]


def test_dead_items_are_left_out_and_the_page_stays_full() -> None:
    of = snapshot(part(vectors([1, 0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]), dead=(1, 3)))
    assert ids([1, 0], of, 2) == [2, 4]
    assert ids([1, 0], of, 10) == [2, 4]


def test_an_item_of_several_vectors_scores_by_its_best_one_and_comes_once() -> None:
    many = np.array([[[1, 0], [1, 0], [1, 0]], [[0, 1], [0, 1], [0.9, 0.1]], [[0, 1], [0, 1], [0, 1]]])
    found = find(np.array([[[1, 0]]], dtype=np.float32), snapshot(part(many.astype(np.float32))), 3)[0]
    assert [one.item_id for one in found] == [1, 2, 3]
    assert found[1].similarity == pytest.approx(0.9)


def test_a_query_of_several_vectors_scores_by_its_best_one() -> None:
    of = snapshot(part(vectors([1, 0], [0, 1])))
    found = find(np.array([[[0.1, 0], [0, 0.9]]], dtype=np.float32), of, 2)[0]
    assert [(one.item_id, round(one.similarity, 3)) for one in found] == [(2, 0.9), (1, 0.1)]


def test_a_batch_of_queries_scores_as_each_alone() -> None:
    generator = np.random.default_rng(5)
    of = snapshot(part(generator.normal(size=(500, 1, 16)).astype(np.float32)))
    queries = generator.normal(size=(64, 1, 16)).astype(np.float32)
    assert find(queries, of, 10) == [find(queries[i : i + 1], of, 10)[0] for i in range(64)]


def test_the_first_stage_equals_a_full_sort() -> None:
    generator = np.random.default_rng(7)
    embeddings = generator.normal(size=(300, 2, 8)).astype(np.float32)
    query = generator.normal(size=(1, 1, 8)).astype(np.float32)
    scores = similarities(query[0], embeddings)
    best = [int(i) + 1 for i in np.lexsort((np.arange(300), -scores))[:25]]
    assert [one.item_id for one in find(query, snapshot(part(embeddings)), 25)[0]] == best


def test_an_empty_gallery_gives_no_candidates() -> None:
    assert find(np.zeros((2, 1, 4), dtype=np.float32), snapshot(), 10) == [[], []]
