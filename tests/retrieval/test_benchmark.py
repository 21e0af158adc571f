"""What of a gallery is measured: splits, samples and folds, each as if there was nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from retrieval.errors import NoPairs, TooFewPictures, UnknownSplit
from retrieval.evaluation.benchmark import Benchmark, Choice, Fold, benchmark
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, TEXTS
from retrieval.evaluation.run import run
from retrieval.models.hashing import HashingEncoder
from storage import galleries, items, schema
from storage.db import Database, Session
from storage.galleries import Gallery
from storage.items import NewItem
from storage.snapshots import Part, Pool, Snapshot
from storage.vectors.faiss_shards import FaissStore

STORE = FaissStore()
SOURCE = "/photos"
WRITTEN = "model:blip"
Known = dict[int, tuple[str | None, dict[str, Any]]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Database:
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('benchmark') / 'test.db'}")
    schema.upgrade(opened)
    return opened


@pytest.fixture
def session(empty: Database) -> Iterator[Session]:
    """A session whose work is undone after each test."""
    with empty.reading() as session:
        yield session
        session.rollback()


class World:
    """A gallery of pictures and texts in SQL, with a snapshot of each kind."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.gallery: Gallery = galleries.create(session, "photos")

    def add(self, kind: str, names: list[str], source: str = SOURCE) -> list[int]:
        new = [NewItem(kind, f"{source}/{name}", source, text=name if kind == "text" else None) for name in names]
        ids = items.announce(self.session, self.gallery.id, new)
        block, _ = items.open_block(self.session, self.gallery.id, kind, room_for=len(ids), limit=10**6)
        items.publish_embedded(self.session, block, items.block_end(self.session, block), ids)
        return ids

    def snapshot(self, kind: str) -> Snapshot:
        ids = np.array([one.id for one in items.embedded(self.session, self.gallery.id, kind)], dtype=np.int64)
        vectors = HashingEncoder().encode_texts([str(i) for i in ids])[:, None]
        slots = np.arange(len(ids))
        alive = np.ones(len(ids), dtype=bool)
        parts = (Part(STORE.hold(vectors[:, 0]), ids, alive, vectors, slots, Pool(STORE, vectors, slots)),)
        return Snapshot(self.gallery, kind, 1, parts if len(ids) else ())

    def pair(self, pairs: set[tuple[int, int]]) -> None:
        items.set_pairs(self.session, self.gallery.id, SOURCE, pairs)

    def benchmark(self, choice: Choice | None = None) -> Benchmark:
        return benchmark(self.session, self.snapshot("image"), self.snapshot("text"), choice or Choice())


def ids_of(snapshot: Snapshot) -> list[int]:
    return sorted(int(i) for part in snapshot.parts for i in part.ids[part.alive])


def right(fold: Fold, direction: str) -> dict[int, set[int]]:
    return {query: set(found) for query, found in fold.right[direction].items()}


@pytest.fixture
def world(session: Session) -> World:
    return World(session)


@pytest.fixture
def ten(world: World) -> tuple[World, list[int], list[int]]:
    """Ten pictures with two texts each: text 2i and 2i + 1 describe picture i."""
    images = world.add("image", [f"{i}.png" for i in range(10)])
    texts = world.add("text", [f"text {i}" for i in range(20)])
    world.pair({(text, images[place // 2]) for place, text in enumerate(texts)})
    return world, images, texts


# The whole gallery


def test_texts_ask_for_their_pictures_and_pictures_for_their_texts(world: World) -> None:
    a, b = world.add("image", ["a", "b"])
    one, two, three = world.add("text", ["one", "two", "three"])
    world.pair({(one, a), (two, a), (three, a), (three, b)})
    (fold,) = world.benchmark().folds
    assert right(fold, IMAGES) == {one: {a}, two: {a}, three: {a, b}}
    assert right(fold, TEXTS) == {a: {one, two, three}, b: {three}}


def test_what_has_no_pair_is_no_query_but_a_candidate(world: World) -> None:
    a, b = world.add("image", ["a", "b"])
    one, two = world.add("text", ["one", "two"])
    world.pair({(one, a)})
    found = world.benchmark()
    assert (found.queries(IMAGES), found.queries(TEXTS), found.pool(IMAGES), found.pool(TEXTS)) == (1, 1, 2, 2)
    assert (ids_of(found.folds[0].images), ids_of(found.folds[0].texts)) == ([a, b], [one, two])


def test_a_gallery_without_pairs_says_what_it_needs(world: World) -> None:
    world.add("image", ["a"])
    world.add("text", ["one"])
    with pytest.raises(NoPairs, match=r"'photos' has no pairs: put a captions\.jsonl"):
        world.benchmark()


def test_a_pair_that_a_review_threw_out_is_no_judgement_and_its_text_no_query(world: World) -> None:
    (a,) = world.add("image", ["a"])
    one, two = world.add("text", ["one", "two"])
    world.pair({(one, a), (two, a)})
    items.set_standing(world.session, {(two, a)}, items.DROPPED)
    for synthetic in (False, True):
        (fold,) = world.benchmark(Choice(synthetic=synthetic)).folds
        assert right(fold, IMAGES) == {one: {a}}
        assert ids_of(fold.texts) == [one, two]


def test_texts_that_a_model_wrote_are_neither_queries_nor_candidates_unless_asked_for(world: World) -> None:
    a, b = world.add("image", ["a", "b"])
    (one,) = world.add("text", ["one"])
    (written,) = world.add("text", ["written"], WRITTEN)
    world.pair({(one, a)})
    items.add_synthetic_pairs(world.session, world.gallery.id, [(written, b)])
    (fold,) = world.benchmark().folds
    assert (right(fold, IMAGES), right(fold, TEXTS), ids_of(fold.texts)) == ({one: {a}}, {a: {one}}, [one])
    (fold,) = world.benchmark(Choice(synthetic=True)).folds
    assert right(fold, IMAGES) == {one: {a}, written: {b}}
    assert ids_of(fold.texts) == [one, written]


def test_a_model_s_texts_alone_are_no_benchmark(world: World) -> None:
    (a,) = world.add("image", ["a"])
    (written,) = world.add("text", ["written"], WRITTEN)
    items.add_synthetic_pairs(world.session, world.gallery.id, [(written, a)])
    with pytest.raises(NoPairs):
        world.benchmark()
    assert world.benchmark(Choice(synthetic=True)).queries(IMAGES) == 1


# Subsets, splits, samples


def test_a_subset_holds_so_many_pictures_and_their_texts_alone(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    found = world.benchmark(Choice(subset=3, seed=4))
    (fold,) = found.folds
    chosen = ids_of(fold.images)
    assert len(chosen) == 3
    assert ids_of(fold.texts) == [text for place, text in enumerate(texts) if images[place // 2] in chosen]
    assert (found.queries(IMAGES), found.queries(TEXTS)) == (6, 3)
    assert sorted(fold.right[TEXTS]) == chosen


def test_a_subset_is_the_same_for_a_seed_and_another_for_another(ten: tuple[World, list[int], list[int]]) -> None:
    world = ten[0]
    chosen = [ids_of(world.benchmark(Choice(subset=4, seed=seed)).folds[0].images) for seed in (0, 0, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len({tuple(one) for one in chosen}) > 1


def test_a_subset_of_everything_is_everything(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    (fold,) = world.benchmark(Choice(subset=99)).folds
    assert (ids_of(fold.images), ids_of(fold.texts)) == (images, texts)


def test_a_split_is_measured_as_if_there_was_nothing_else(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    splits: Known = {image: ("test" if place < 4 else "train", {}) for place, image in enumerate(images)}
    items.set_metadata(world.session, splits)
    (fold,) = world.benchmark(Choice(split="test")).folds
    assert (ids_of(fold.images), ids_of(fold.texts)) == (images[:4], texts[:8])
    assert right(fold, TEXTS)[images[0]] == set(texts[:2])
    (fold,) = world.benchmark(Choice(split="test", subset=2)).folds
    assert set(ids_of(fold.images)) < set(images[:4])


def test_an_unknown_split_s_line_names_those_there_are(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, _ = ten
    items.set_metadata(world.session, {images[0]: ("val", {}), images[1]: ("test", {}), images[2]: (None, {})})
    with pytest.raises(UnknownSplit) as caught:
        world.benchmark(Choice(split="dev"))
    assert str(caught.value) == "gallery 'photos' has no pictures with texts of a split 'dev': it has test, val"


def test_where_nothing_has_a_split_the_line_says_so(ten: tuple[World, list[int], list[int]]) -> None:
    with pytest.raises(UnknownSplit, match="'test': its pictures are of no split"):
        ten[0].benchmark(Choice(split="test"))


def test_a_sample_of_queries_leaves_every_item_a_candidate(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    (fold,) = world.benchmark(Choice(queries=3, seed=1)).folds
    assert [len(fold.right[name]) for name in DIRECTIONS] == [3, 3]
    assert (ids_of(fold.images), ids_of(fold.texts)) == (images, texts)
    assert all(len(found) == 2 for found in fold.right[TEXTS].values())
    assert world.benchmark(Choice(queries=3, seed=1)).folds[0].right == fold.right
    others = [world.benchmark(Choice(queries=3, seed=seed)).folds[0].right[IMAGES] for seed in range(5)]
    assert len({tuple(one) for one in others}) > 1


def test_a_text_of_a_picture_inside_and_one_outside_asks_for_the_one_inside(world: World) -> None:
    a, b = world.add("image", ["a", "b"])
    one, two = world.add("text", ["one", "two"])
    world.pair({(one, a), (one, b), (two, b)})
    items.set_metadata(world.session, {a: ("test", {}), b: ("train", {})})
    (fold,) = world.benchmark(Choice(split="test")).folds
    assert (right(fold, IMAGES), ids_of(fold.texts), ids_of(fold.images)) == ({one: {a}}, [one], [a])


# Folds


def test_folds_cut_the_pictures_in_order_into_galleries_of_one_size(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    found = world.benchmark(Choice(folds=5))
    assert [ids_of(fold.images) for fold in found.folds] == [images[i : i + 2] for i in range(0, 10, 2)]
    assert [ids_of(fold.texts) for fold in found.folds] == [texts[i : i + 4] for i in range(0, 20, 4)]
    assert [fold.number for fold in found.folds] == [0, 1, 2, 3, 4]
    assert (found.queries(IMAGES), found.queries(TEXTS), found.pool(IMAGES), found.pool(TEXTS)) == (20, 10, 2, 4)


def test_folds_that_do_not_come_out_even_differ_by_one_picture(ten: tuple[World, list[int], list[int]]) -> None:
    found = ten[0].benchmark(Choice(folds=3))
    assert [len(ids_of(fold.images)) for fold in found.folds] == [4, 3, 3]


def test_as_many_folds_as_pictures_are_possible_and_more_are_not(ten: tuple[World, list[int], list[int]]) -> None:
    world = ten[0]
    assert [len(ids_of(fold.images)) for fold in world.benchmark(Choice(folds=10)).folds] == [1] * 10
    with pytest.raises(TooFewPictures, match="has 10 pictures with texts: they make no 11 folds"):
        world.benchmark(Choice(folds=11))
    with pytest.raises(TooFewPictures, match="has 4 pictures"):
        world.benchmark(Choice(folds=5, subset=4))


def test_candidates_come_from_the_query_s_own_fold(ten: tuple[World, list[int], list[int]]) -> None:
    world = ten[0]
    bench = world.benchmark(Choice(folds=5))
    pages = [*run(bench, HashingEncoder(), None, candidates=128)]
    assert len(pages) == 30
    for page in pages:
        assert sorted(page.rows["item"].tolist()) == ids_of(bench.folds[page.fold].pool(page.direction))


def test_a_sample_of_queries_is_shared_by_the_folds(ten: tuple[World, list[int], list[int]]) -> None:
    found = ten[0].benchmark(Choice(folds=2, queries=6))
    assert [[len(fold.right[name]) for name in DIRECTIONS] for fold in found.folds] == [[3, 3], [3, 3]]


def test_a_text_of_pictures_in_two_folds_is_asked_once_and_found_in_both(world: World) -> None:
    a, b = world.add("image", ["a", "b"])
    one, two, both = world.add("text", ["one", "two", "both"])
    world.pair({(one, a), (two, b), (both, a), (both, b)})
    first, second = world.benchmark(Choice(folds=2)).folds
    assert right(first, IMAGES) == {one: {a}, both: {a}}
    assert right(second, IMAGES) == {two: {b}}
    assert (right(first, TEXTS), right(second, TEXTS)) == ({a: {one, both}}, {b: {two, both}})
    assert (ids_of(first.texts), ids_of(second.texts)) == ([one, both], [two, both])


def test_a_benchmark_of_folds_asks_no_query_twice(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    world.pair({(text, image) for text in texts for image in images[:6]})
    for queries in (None, 6):
        found = world.benchmark(Choice(folds=3, queries=queries))
        for name in DIRECTIONS:
            asked = [query for fold in found.folds for query in fold.right[name]]
            assert len(asked) == len(set(asked)) == found.queries(name)


def test_what_died_since_is_no_part_of_it(ten: tuple[World, list[int], list[int]]) -> None:
    world, images, texts = ten
    items.bury(world.session, [images[0], texts[2]])
    (fold,) = world.benchmark().folds
    assert images[0] not in fold.right[TEXTS]
    assert texts[2] not in fold.right[IMAGES]
    assert texts[0] not in fold.right[IMAGES]
    assert replace(Choice(), folds=1) == Choice()
