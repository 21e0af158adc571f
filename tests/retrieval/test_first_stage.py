"""The first stage is exact: ties by id, deletions out, several vectors an item reduced to one."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.first_stage import find, similarities
from storage.galleries import Gallery
from storage.snapshots import Part, Pool, Snapshot
from storage.vectors.faiss_shards import FaissStore

GALLERY = Gallery(1, "g", "m", "f", 2, 1, 1, ())


def part(embeddings: np.ndarray, *, first_id: int = 1, dead: tuple[int, ...] = ()) -> Part:
    """A part over `[n, v, d]` whose items are numbered from `first_id`."""
    store, slots = FaissStore(), np.arange(len(embeddings))
    ids = first_id + slots
    shard = store.hold(np.ascontiguousarray(embeddings.reshape(-1, embeddings.shape[2])))
    return Part(shard, ids, ~np.isin(ids, dead), embeddings, slots, Pool(store, embeddings, slots))


def snapshot(*parts: Part) -> Snapshot:
    return Snapshot(GALLERY, "image", 1, parts)


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)[:, None]


def ids(query: list[float], of: Snapshot, n: int, pooled: int | None = None) -> list[int]:
    return [one.item_id for one in find(np.array([[query]], dtype=np.float32), of, n, pooled=pooled)[0]]


def pairs(*items: tuple[list[float], list[float]]) -> np.ndarray:
    """Items of two vectors each."""
    return np.array(items, dtype=np.float32)


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


# To [1, 0] the items' best vectors are 0.8, 0.6 and 1.0, the means of their two 0.8, 0.6 and about 0.7.
THREE = pairs(([0.8, 0.6], [0.8, 0.6]), ([0.6, 0.8], [0.6, 0.8]), ([1, 0], [0, 1]))


def test_a_first_pass_by_the_mean_hands_on_only_so_many_items() -> None:
    of = snapshot(part(THREE))
    assert ids([1, 0], of, 3) == [3, 1, 2]
    assert ids([1, 0], of, 1, pooled=2) == [3]
    # By its mean the third is second to the first, so that a first pass of one loses it.
    assert ids([1, 0], of, 1, pooled=1) == [1]


def test_the_similarities_of_what_is_handed_on_are_exact() -> None:
    query = np.array([[[1, 0]]], dtype=np.float32)
    exact = {one.item_id: one.similarity for one in find(query, snapshot(part(THREE)), 3)[0]}
    for one in find(query, snapshot(part(THREE)), 2, pooled=2)[0]:
        assert one.similarity == exact[one.item_id]


def test_a_first_pass_over_everything_loses_nothing() -> None:
    generator = np.random.default_rng(11)
    embeddings = generator.normal(size=(120, 3, 8)).astype(np.float32)
    queries = generator.normal(size=(5, 2, 8)).astype(np.float32)
    of = snapshot(part(embeddings[:70], dead=(3, 50)), part(embeddings[70:], first_id=71))
    assert find(queries, of, 20, pooled=120) == find(queries, of, 20)
    assert find(queries, of, 20, pooled=1000) == find(queries, of, 20)


def test_the_first_pass_is_over_all_parts_together() -> None:
    apart = snapshot(part(THREE[:1]), part(THREE[1:2], first_id=2), part(THREE[2:], first_id=3))
    for most in (1, 2, 3):
        assert ids([1, 0], apart, most, pooled=most) == ids([1, 0], snapshot(part(THREE)), most, pooled=most)


def test_items_of_one_vector_need_no_first_pass() -> None:
    random = np.random.default_rng(2).normal(size=(1, 50, 1, 4)).astype(np.float32)[0]
    of = snapshot(part(random))
    assert ids([1, 0, 0, 0], of, 10, pooled=10) == ids([1, 0, 0, 0], of, 10)
    assert of.parts[0].pooled is of.parts[0]


def test_dead_items_are_not_handed_on_and_take_no_place() -> None:
    of = snapshot(part(THREE, dead=(1,)))
    assert ids([1, 0], of, 2, pooled=2) == [3, 2]
    assert ids([1, 0], of, 1, pooled=1) == [3]
    gone = of.without(np.array([3]))
    assert ids([1, 0], gone, 3, pooled=3) == [2]


def test_equal_means_are_handed_on_by_id_and_equal_similarities_ordered_by_it() -> None:
    same = np.repeat(THREE[:1], 40, axis=0)
    of = snapshot(part(same, first_id=41), part(same, first_id=1))
    assert ids([1, 0], of, 5, pooled=5) == [1, 2, 3, 4, 5]
    assert ids([1, 0], of, 60, pooled=60) == list(range(1, 61))


def test_a_shorter_page_is_the_start_of_a_longer_one_after_the_same_first_pass() -> None:
    random = np.random.default_rng(3).normal(size=(300, 4, 8)).astype(np.float32)
    of = snapshot(part(random[:120]), part(random[120:], first_id=121))
    query = [1.0, 1, 0, 0, 0, 0, 0, 0]
    longest = ids(query, of, 50, pooled=50)
    assert longest != ids(query, of, 50)
    for n in (1, 5, 20):
        assert ids(query, of, n, pooled=50) == longest[:n]


def test_a_batch_of_queries_is_pooled_as_each_alone() -> None:
    generator = np.random.default_rng(5)
    of = snapshot(part(generator.normal(size=(500, 4, 16)).astype(np.float32)))
    queries = generator.normal(size=(64, 1, 16)).astype(np.float32)
    alone = [find(queries[i : i + 1], of, 10, pooled=30)[0] for i in range(64)]
    assert find(queries, of, 10, pooled=30) == alone


def test_vectors_that_cancel_out_are_similar_to_nothing_by_their_mean() -> None:
    of = snapshot(part(pairs(([1, 0], [-1, 0]), ([0.1, 0.995], [0.1, 0.995]))))
    assert ids([1, 0], of, 1, pooled=1) == [2]
    assert ids([1, 0], of, 2, pooled=2) == [1, 2]


def test_what_is_pooled_is_kept_and_shared_by_states_that_differ_in_their_dead() -> None:
    one = part(THREE)
    assert one.pooled.shard is one.pooled.shard
    assert snapshot(one).without(np.array([1])).parts[0].pooled.shard is one.pooled.shard
    assert one.pooled.embeddings.shape == (3, 1, 2)
    np.testing.assert_allclose(np.linalg.norm(one.pooled.embeddings, axis=2), 1, rtol=1e-6)
