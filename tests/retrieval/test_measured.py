"""What a run comes to, from the first stage to the report, in worlds whose every similarity and logit is written down.

A world is a table of cosines and one of match logits, texts by pictures. Texts are embedded as the axes and a picture
as its column of cosines, so the first stage finds exactly what the table says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import PictureGone
from retrieval.evaluation import measured
from retrieval.evaluation.benchmark import Benchmark, Fold
from retrieval.evaluation.measured import CAUSES, CUT_OFF, ENCODER, INDEX, RERANKER, UNREAD, Direction, Tally
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, SCORINGS, TEXTS, Found, pack, scores
from retrieval.evaluation.run import run
from retrieval.first_stage import find
from retrieval.models.checkpoints import Scoring
from retrieval.models.hashing import HashingEncoder
from retrieval.pictures import ImageTokens
from retrieval.rerank import Judged, Reranker, rerank_images
from retrieval.types import Candidate, Float32, UInt8
from storage.galleries import Gallery
from storage.items import Item
from storage.snapshots import Part, Pool, Snapshot
from storage.vectors.faiss_shards import FaissStore

FIRST_TEXT = 1001
"""Pictures are items 1, 2, 3 and so on, texts 1001, 1002 and so on."""
CUTOFFS = ("recall@1", "recall@5", "recall@10")
STORE = FaissStore()


def item(item_id: int, kind: str) -> Item:
    text = f"text {item_id}" if kind == "text" else None
    return Item(item_id, 1, kind, f"/g/{item_id}", "/g", "embedded", None, 1, 1, None, 8, 8, text, 1, item_id)


class Axes(HashingEncoder):
    """Embeds text 1001 + t as the axis t."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        self.read += texts
        return np.eye(self.count, dtype=np.float32)[[int(text.split()[1]) - FIRST_TEXT for text in texts]]


class Written(HashingEncoder):
    """A matcher whose logits are written down; a picture's one token is its id."""

    def __init__(self, yes: np.ndarray, no: np.ndarray) -> None:
        self.yes, self.no = yes, no

    def prepare(self, image: Image.Image) -> UInt8:
        return np.full((1, 1, 3), image.getpixel((0, 0))[0], dtype=np.uint8)  # type: ignore[index]

    def image_tokens(self, pixels: UInt8) -> Float32:
        return pixels[:, :1, 0, :1].astype(np.float32)

    def match(self, tokens: Float32, texts: Sequence[str], pairs: np.ndarray) -> Float32:
        pictures = tokens[pairs[:, 0], 0, 0].astype(np.int64) - 1
        rows = np.array([int(texts[i].split()[1]) - FIRST_TEXT for i in pairs[:, 1]])
        return np.stack([self.no[rows, pictures], self.yes[rows, pictures]], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Shown:
    """Pictures of one pixel whose red is their id; some are gone, and some go while they are looked at."""

    gone: frozenset[int] = frozenset()
    going: frozenset[int] = frozenset()

    def is_current(self, one: Item) -> bool:
        return one.id not in self.gone

    def open(self, one: Item) -> Image.Image:
        if one.id in self.going:
            raise PictureGone(one.uri, "is missing")
        return Image.new("RGB", (1, 1), (one.id, 0, 0))


def snapshot(embeddings: np.ndarray, first_id: int, kind: str) -> Snapshot:
    """A snapshot over `[n, v, d]`."""
    slots = np.arange(len(embeddings))
    shard = STORE.hold(np.ascontiguousarray(embeddings.reshape(-1, embeddings.shape[2])))
    part = Part(shard, first_id + slots, np.ones(len(slots), bool), embeddings, slots, Pool(STORE, embeddings, slots))
    gallery = Gallery(1, "g", "m", "f", embeddings.shape[2], embeddings.shape[1], 1, ())
    return Snapshot(gallery, kind, 1, (part,))


@dataclass(frozen=True)
class World:
    """Cosines and logits `[texts, pictures]`, and which text (by row) describes which picture (by column)."""

    cosines: np.ndarray
    pairs: frozenset[tuple[int, int]]
    yes: np.ndarray | None = None
    no: np.ndarray | None = None
    shown: Shown = Shown()
    views: np.ndarray | None = None

    @property
    def encoder(self) -> Axes:
        return Axes(len(self.cosines))

    def reranker(self, scoring: Scoring) -> Reranker | None:
        if self.yes is None:
            return None
        matcher = Written(self.yes, np.zeros_like(self.yes) if self.no is None else self.no)
        return Reranker(matcher, ImageTokens(matcher, self.shown, cache_bytes=0, batch=4), scoring)

    def benchmark(self) -> Benchmark:
        texts, pictures = self.cosines.shape
        seen = self.cosines.T[:, None] if self.views is None else self.views
        right: dict[str, dict[int, frozenset[int]]] = {IMAGES: {}, TEXTS: {}}
        for t, i in sorted(self.pairs):
            right[IMAGES][FIRST_TEXT + t] = right[IMAGES].get(FIRST_TEXT + t, frozenset()) | {i + 1}
            right[TEXTS][i + 1] = right[TEXTS].get(i + 1, frozenset()) | {FIRST_TEXT + t}
        known = [item(i + 1, "image") for i in range(pictures)] + [item(FIRST_TEXT + t, "text") for t in range(texts)]
        images = snapshot(np.ascontiguousarray(seen, dtype=np.float32), 1, "image")
        words = snapshot(np.eye(texts, dtype=np.float32)[:, None], FIRST_TEXT, "text")
        return Benchmark((Fold(0, images, words, right),), {one.id: one for one in known})

    def found(self, *, candidates: int, scoring: Scoring = "itm", pooled: int | None = None) -> list[Found]:
        return [*run(self.benchmark(), self.encoder, self.reranker(scoring), candidates=candidates, pooled=pooled)]

    def measured(self, *, candidates: int, scoring: Scoring = "itm", pooled: int | None = None) -> dict[str, Direction]:
        bench, is_reranked = self.benchmark(), self.yes is not None
        tallies = {
            name: Tally(
                name,
                items=bench.pool(name),
                scoring=scoring if is_reranked else "itc",
                is_reranked=is_reranked,
                candidates=candidates,
            )
            for name in DIRECTIONS
        }
        for one in self.found(candidates=candidates, scoring=scoring, pooled=pooled):
            pool = np.sort(np.concatenate([part.ids for part in bench.folds[0].pool(one.direction).parts]))
            tallies[one.direction].add(one, bench.folds[0].right[one.direction][one.query], pool)
        return {name: tally.measured() for name, tally in tallies.items()}


def one_text(cosines: Sequence[float], right: Iterable[int], yes: Sequence[float] | None = None) -> World:
    """One text over some pictures; `right` counts them from 1."""
    logits = None if yes is None else np.array([yes], dtype=np.float64)
    return World(np.array([cosines], dtype=np.float32), frozenset((0, i - 1) for i in right), logits)


def falling(count: int) -> list[float]:
    """Cosines that make picture i the i-th candidate."""
    return [1 - i / 64 for i in range(count)]


def drawn(seed: int, *, texts: int = 40, pictures: int = 30, reads: bool = True) -> World:
    """A world of chance: a right cosine and a right logit are higher by a little; some texts describe two pictures."""
    draw = np.random.default_rng(seed)
    cosines, yes, no = (draw.normal(size=(texts, pictures)).astype(np.float32) for _ in range(3))
    pairs = {(t, t % pictures) for t in range(texts)} | {(t, (3 * t) % pictures) for t in range(0, texts, 5)}
    for t, i in pairs:
        cosines[t, i] += 1
        yes[t, i] += 1.5
    return World(cosines, frozenset(pairs), yes if reads else None, no)


def to_images(world: World, **how: object) -> Direction:
    return world.measured(**how)[IMAGES]  # type: ignore[arg-type]


def cause(direction: Direction, k: int) -> str | None:
    """What lost the only query at k."""
    found = [name for name, count in direction.misses[f"recall@{k}"].items() if count]
    assert len(found) <= 1
    return found[0] if found else None


def recalls(direction: Direction, stage: str = "after") -> list[float]:
    of_stage = direction.before if stage == "before" else direction.after
    assert of_stage is not None
    return [of_stage.measures[name] for name in CUTOFFS]


# Where recall was lost


def test_without_a_reranker_what_the_similarities_put_too_low_is_the_encoder_s() -> None:
    direction = to_images(one_text(falling(12), {3}), candidates=12)
    assert [cause(direction, k) for k in (1, 5, 10)] == [ENCODER, None, None]
    assert direction.after is None


def test_without_a_reranker_what_is_no_candidate_is_the_encoder_s_too() -> None:
    direction = to_images(one_text(falling(12), {12}), candidates=10)
    assert [cause(direction, k) for k in (1, 5, 10)] == [ENCODER, ENCODER, ENCODER]


def test_a_candidate_that_the_logits_put_down_was_lost_by_the_reranker() -> None:
    yes = [1.0, 9.0, *[0.0] * 10]
    direction = to_images(one_text(falling(12), {1}, yes), candidates=12)
    assert [cause(direction, k) for k in (1, 5, 10)] == [RERANKER, None, None]
    assert recalls(direction, "before") == [1, 1, 1]


def test_what_would_have_won_behind_the_last_candidate_was_cut_off() -> None:
    yes = [1.0, 2.0, 3.0, 9.0]
    direction = to_images(one_text(falling(4), {4}, yes), candidates=3)
    assert [cause(direction, k) for k in (1, 5, 10)] == [CUT_OFF] * 3


def test_what_would_have_come_third_was_cut_off_at_five_but_lost_by_the_encoder_at_one() -> None:
    yes = [8.0, 9.0, 1.0, *[0.0] * 8, 5.0]
    direction = to_images(one_text(falling(12), {12}, yes), candidates=11)
    assert [cause(direction, k) for k in (1, 5, 10)] == [ENCODER, CUT_OFF, CUT_OFF]


def test_what_no_deeper_page_would_have_brought_up_was_lost_by_the_encoder() -> None:
    yes = [*[5.0] * 10, 0.0, 4.0]
    direction = to_images(one_text(falling(12), {12}, yes), candidates=10)
    assert [cause(direction, k) for k in (1, 5, 10)] == [ENCODER] * 3


def test_an_outsider_that_would_only_tie_is_not_said_to_have_won() -> None:
    direction = to_images(one_text(falling(4), {4}, [7.0, 1.0, 1.0, 7.0]), candidates=3)
    assert cause(direction, 1) == ENCODER


def test_of_several_right_ones_outside_the_most_similar_one_is_looked_at() -> None:
    found = [one for one in one_text(falling(6), {5, 6}, [0.0] * 6).found(candidates=3) if one.direction == IMAGES]
    assert found[0].outsider["item"].tolist() == [5]


def test_a_page_with_something_right_has_no_outsider() -> None:
    found = [one for one in one_text(falling(6), {2, 6}, [0.0] * 6).found(candidates=3) if one.direction == IMAGES]
    assert len(found[0].outsider) == 0


@pytest.mark.parametrize("stage", ["before", "after"])
def test_a_tie_that_the_last_candidate_cuts_through_is_resolved_against_the_claim(stage: str) -> None:
    """Everything is as similar as anything: ten items are handed on by their ids, and that is no merit."""
    world = World(np.full((30, 30), 0.5), frozenset((i, i) for i in range(30)), np.zeros((30, 30)))
    for direction in world.measured(candidates=10).values():
        assert recalls(direction, stage) == [0, 0, 0]
        assert sum(direction.misses["recall@10"].values()) == 30
        assert direction.authors["before"]["recall@10"] >= 1 / 30  # theirs is an accident


def test_a_tie_among_the_candidates_alone_cuts_nobody_off() -> None:
    cosines = np.array([[0.9, 0.5, 0.5, 0.1]])
    direction = World(cosines, frozenset({(0, 1)})).measured(candidates=3)[IMAGES]
    assert recalls(direction, "before") == [0, 1, 1]
    assert direction.before.measures["median_rank"] == 3


@pytest.mark.parametrize("reads", [True, False])
def test_what_the_first_pass_passed_over_was_lost_by_the_index(reads: bool) -> None:
    """To the text the pictures' best vectors are 0.8, 0.6 and 1.0, the means of their two 0.8, 0.6 and about 0.7."""
    views = np.array([[[0.8, 0.6], [0.8, 0.6]], [[0.6, 0.8], [0.6, 0.8]], [[1, 0], [0, 1]]], dtype=np.float32)
    world = World(np.zeros((2, 3), np.float32), frozenset({(0, 2)}), np.zeros((2, 3)) if reads else None, views=views)
    lost = to_images(world, candidates=1, pooled=1)
    assert [cause(lost, k) for k in (1, 5, 10)] == [INDEX] * 3
    assert to_images(world, candidates=1).before.measures["recall@1"] == 1.0
    assert to_images(world, candidates=1, pooled=2).before.measures["recall@1"] == 1.0


def test_what_belongs_between_two_candidates_was_lost_by_the_index_and_not_by_the_encoder() -> None:
    """Best vectors of 0.9, 0.5 and 0.7, means of 0.9, 0.5 and 0: a first pass of two loses the second best."""
    views = np.array([[[0.9, 0.4]] * 2, [[0.5, 0.8]] * 2, [[0.7, 0.7], [-0.7, 0.7]]], dtype=np.float32)
    world = World(np.zeros((2, 3), np.float32), frozenset({(0, 2)}), views=views)
    assert cause(to_images(world, candidates=2, pooled=2), 5) == INDEX


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("candidates", [1, 4, 12, 128])
def test_the_causes_add_up_to_the_queries_that_were_missed(scoring: Scoring, candidates: int) -> None:
    for direction in drawn(5).measured(candidates=candidates, scoring=scoring).values():
        for name, recall in zip(CUTOFFS, recalls(direction), strict=True):
            missed = round(direction.queries * (1 - recall))
            assert sum(direction.misses[name].values()) == missed
            assert set(direction.misses[name]) == set(CAUSES)
        assert sum(direction.misses["recall@1"].values()) > 0


@pytest.mark.parametrize("candidates", [1, 4, 128])
def test_without_a_reranker_nothing_is_blamed_on_one(candidates: int) -> None:
    for direction in drawn(6, reads=False).measured(candidates=candidates).values():
        for name, recall in zip(CUTOFFS, recalls(direction, "before"), strict=True):
            causes = direction.misses[name]
            assert causes[RERANKER] == causes[CUT_OFF] == causes[INDEX] == 0
            assert causes[ENCODER] == round(direction.queries * (1 - recall))


def test_candidates_that_the_cosine_orders_are_not_lost_by_the_reranker() -> None:
    direction = to_images(one_text(falling(12), {3}, [0.0] * 12), candidates=12, scoring="itc")
    assert [cause(direction, k) for k in (1, 5, 10)] == [ENCODER, None, None]
    beyond = to_images(one_text(falling(12), {12}, [0.0] * 12), candidates=10, scoring="itc")
    assert [cause(beyond, k) for k in (1, 5, 10)] == [ENCODER] * 3


def test_reading_every_item_leaves_nothing_to_cut_off() -> None:
    for direction in drawn(7).measured(candidates=128).values():
        assert all(found[CUT_OFF] == found[INDEX] == found[ENCODER] == 0 for found in direction.misses.values())


# Ties


def constant(count: int) -> World:
    flat = np.full((count, count), 0.5, dtype=np.float32)
    return World(flat, frozenset((i, i) for i in range(count)), flat.astype(np.float64))


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("candidates", [1, 3, 20, 128])
def test_a_model_that_cannot_tell_items_apart_finds_no_more_than_chance_does(scoring: Scoring, candidates: int) -> None:
    for direction in constant(20).measured(candidates=candidates, scoring=scoring).values():
        for stage in ("before", "after"):
            for k, recall in zip((1, 5, 10), recalls(direction, stage), strict=True):
                assert recall <= k / 20


def test_a_wrong_candidate_with_the_same_score_stands_before_the_right_one() -> None:
    direction = to_images(one_text([0.5, 0.5, 0.25], {1}, [3.0, 1.0, 3.0]), candidates=3)
    assert direction.before.measures["mrr"] == 0.5
    assert direction.after is not None
    assert direction.after.measures["mrr"] == 0.5


def test_two_right_candidates_with_the_same_score_are_not_held_against_each_other() -> None:
    direction = to_images(one_text([0.5, 0.5, 0.25], {1, 2}, [3.0, 3.0, 1.0]), candidates=3)
    assert recalls(direction, "before") == recalls(direction) == [1, 1, 1]


def test_what_the_authors_own_sort_gives_is_told_beside_ours() -> None:
    direction = to_images(one_text([0.5, 0.5, 0.25], {2}, [3.0, 3.0, 1.0]), candidates=3)
    row = np.array([0.5, 0.5, 0.25], dtype=np.float32)
    theirs = float(np.argsort(row)[::-1][0] == 1)
    assert direction.authors["before"]["recall@1"] == direction.authors["after"]["recall@1"] == theirs
    assert recalls(direction)[0] == 0


@pytest.mark.parametrize("candidates", [2, 7, 30])
@pytest.mark.parametrize("scoring", SCORINGS)
def test_the_authors_sort_is_that_of_their_whole_matrix(candidates: int, scoring: Scoring) -> None:
    """Their float32 rows hold -100 where no pair was read, and np.argsort(row)[::-1] ranks them."""
    whole = drawn(8)
    rounded = replace(whole, cosines=np.round(whole.cosines, 0), yes=np.round(whole.yes, 0))  # type: ignore[arg-type]
    bench = rounded.benchmark()
    for name, direction in rounded.measured(candidates=candidates, scoring=scoring).items():
        hits = dict.fromkeys((1, 5, 10), 0)
        for found in (one for one in rounded.found(candidates=candidates, scoring=scoring) if one.direction == name):
            first = 1 if name == IMAGES else FIRST_TEXT
            row = np.full(bench.pool(name), -100, dtype=np.float32)
            page = found.candidates
            row[page["item"] - first] = scores(page, scoring)
            right = [one - first for one in bench.folds[0].right[name][found.query]]
            place = np.isin(np.argsort(row)[::-1], right).argmax() + 1
            for k in hits:
                hits[k] += bool(place <= k)
        if candidates >= 10:
            assert direction.authors["after"] == {f"recall@{k}": hit / direction.queries for k, hit in hits.items()}
        else:
            assert direction.authors["after"]["recall@1"] == hits[1] / direction.queries


def test_without_ties_the_authors_sort_says_the_same() -> None:
    for direction in drawn(9).measured(candidates=30, scoring="itm+itc").values():
        assert direction.authors["after"] == dict(zip(CUTOFFS, recalls(direction), strict=True))
        assert direction.authors["before"] == dict(zip(CUTOFFS, recalls(direction, "before"), strict=True))


# Small and uneven galleries


def test_what_is_not_among_the_candidates_is_missed_however_small_the_gallery() -> None:
    direction = to_images(one_text(falling(4), {4}, [0.0, 1.0, 2.0, 9.0]), candidates=3)
    assert recalls(direction, "before") == recalls(direction) == [0, 0, 0]
    assert direction.after is not None
    assert direction.after.measures["mrr"] == direction.after.measures["ndcg@10"] == 0
    assert math.isinf(direction.after.measures["median_rank"])
    assert direction.worst[0].before is direction.worst[0].after is None


def test_a_gallery_smaller_than_the_candidates_is_read_whole() -> None:
    direction = to_images(one_text(falling(3), {3}, [1.0, 2.0, 9.0]), candidates=128)
    assert (recalls(direction, "before"), recalls(direction)) == ([0, 1, 1], [1, 1, 1])
    assert direction.depths is not None
    assert direction.depths.candidates == (1, 2, 3)


def test_a_gallery_of_one_picture_is_a_benchmark() -> None:
    for direction in one_text([0.1], {1}, [-3.0]).measured(candidates=128).values():
        assert recalls(direction, "before") == recalls(direction) == [1, 1, 1]
        assert (direction.queries, direction.items) == (1, 1)
        assert all(sum(causes.values()) == 0 for causes in direction.misses.values())


def test_a_text_of_several_pictures_has_found_when_it_finds_any_of_them() -> None:
    direction = to_images(one_text(falling(6), {2, 6}, [0.0, 1.0, 0.0, 0.0, 0.0, 9.0]), candidates=6)
    assert (direction.before.measures["mrr"], recalls(direction)) == (0.5, [1, 1, 1])


def test_a_picture_with_five_texts_has_found_when_it_finds_any_of_them() -> None:
    """Five of ten texts describe picture 1; its best own one is third by the cosines and first by the logits."""
    cosines = np.zeros((10, 2), dtype=np.float32)
    cosines[:, 0] = [0.1, 0.2, 0.7, 0.3, 0.4, 0.9, 0.8, 0.1, 0.1, 0.1]
    yes = np.zeros((10, 2))
    yes[:, 0] = [0, 0, 0, 0, 8, 2, 1, 0, 0, 0]
    pairs = frozenset({*((t, 0) for t in range(5)), *((t, 1) for t in range(5, 10))})
    found = {one.query: one for one in World(cosines, pairs, yes).found(candidates=10) if one.direction == TEXTS}
    right = range(FIRST_TEXT, FIRST_TEXT + 5)
    assert measured.ranks(found[1], right, "itm") == (3, 1)


# Measures by hand


def by_hand() -> Direction:
    """Four texts of which each describes one picture, at places 1, 2, 4 and nowhere before; 2, 1, 1 and nowhere after.

    Text 4's own picture is the fifth, and there are four candidates.
    """
    cosines = np.array(
        [
            [0.9, 0.8, 0.7, 0.6, 0.5],
            [0.9, 0.8, 0.7, 0.6, 0.5],
            [0.9, 0.8, 0.7, 0.6, 0.5],
            [0.9, 0.8, 0.7, 0.6, 0.5],
        ],
        dtype=np.float32,
    )
    yes = np.array([[5.0, 6, 0, 0, 0], [0, 7, 0, 0, 0], [0, 0, 0, 8, 0], [1, 2, 3, 4, 0]])
    return to_images(World(cosines, frozenset({(0, 0), (1, 1), (2, 3), (3, 4)}), yes), candidates=4)


def test_the_measures_of_an_example_are_those_of_a_pencil() -> None:
    direction = by_hand()
    assert direction.before.measures == {
        "recall@1": 1 / 4,
        "recall@5": 3 / 4,
        "recall@10": 3 / 4,
        "mrr": (1 + 1 / 2 + 1 / 4) / 4,
        "ndcg@10": pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(5)) / 4),
        "median_rank": 3.0,
    }
    assert direction.after is not None
    assert direction.after.measures == {
        "recall@1": 2 / 4,
        "recall@5": 3 / 4,
        "recall@10": 3 / 4,
        "mrr": (1 / 2 + 1 + 1) / 4,
        "ndcg@10": pytest.approx((1 / math.log2(3) + 1 + 1) / 4),
        "median_rank": 1.5,
    }


def test_every_measure_has_an_interval_around_it() -> None:
    direction = by_hand()
    assert direction.after is not None
    for stage in (direction.before, direction.after):
        assert stage.intervals.keys() == stage.measures.keys()
        for name, value in stage.measures.items():
            assert stage.intervals[name].low <= value <= stage.intervals[name].high


def test_a_query_with_two_right_items_gets_its_gain_from_both() -> None:
    """Right ones at places 1 and 3 of the best order 1 and 2."""
    direction = to_images(one_text(falling(4), {1, 3}), candidates=4)
    assert direction.before.measures["ndcg@10"] == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))


def test_a_right_item_outside_the_candidates_still_counts_in_the_best_order() -> None:
    direction = to_images(one_text(falling(4), {1, 4}), candidates=2)
    assert direction.before.measures["ndcg@10"] == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_the_best_queries_were_brought_up_and_the_worst_were_put_down() -> None:
    direction = by_hand()
    assert [(one.query, one.before, one.after) for one in direction.best] == [(1003, 4, 1), (1002, 2, 1)]
    assert [(one.query, one.before, one.after) for one in direction.worst] == [(1004, None, None), (1001, 1, 2)]


def test_the_curve_is_recall_at_every_depth() -> None:
    curve = by_hand().curve
    assert (curve.k, curve.before, curve.after) == ((1, 2, 3), (0.25, 0.5, 0.5), (0.5, 0.75, 0.75))


@pytest.mark.parametrize("scoring", SCORINGS)
def test_ranks_are_the_places_that_a_search_shows(scoring: Scoring) -> None:
    world = drawn(10)
    bench, reranker = world.benchmark(), world.reranker(scoring)
    assert reranker is not None
    fold = bench.folds[0]
    for found in (one for one in world.found(candidates=12, scoring=scoring) if one.direction == IMAGES):
        right = fold.right[IMAGES][found.query]
        text = bench.known[found.query].text or ""
        (page,) = find(world.encoder.encode_texts([text])[:, None], fold.images, 12)
        shown = [one.candidate.item_id for one in rerank_images(text, page, bench.known, reranker)]
        places = [shown.index(one) + 1 for one in right if one in shown]
        # A probability that is 1 to the last digit ties; nothing else here does.
        assert measured.ranks(found, right, scoring)[1] == (min(places) if places else None)


# Folds


def of_fold(query: int, fold: int, place: int, count: int = 6) -> tuple[Found, set[int]]:
    """A query of a fold whose only right item is the first stage's `place`-th of some; 0 is outside of them."""
    page = [Judged(Candidate(100 + rank, 1 - rank / 64, rank)) for rank in range(1, count + 1)]
    outsider = None if place else Judged(Candidate(100, 0.0, 0))
    return Found(IMAGES, query, fold, pack(page, outsider), 1.0, 0.0), {100 + place}


def folded(places: Mapping[int, Sequence[int]]) -> Direction:
    tally = Tally(IMAGES, items=7, scoring="itc", is_reranked=False, candidates=6)
    query = 0
    for fold, of_this in places.items():
        for place in of_this:
            query += 1
            found, right = of_fold(query, fold, place)
            tally.add(found, right, np.arange(100, 107))
    return tally.measured()


def test_folds_are_averaged_whatever_their_sizes() -> None:
    direction = folded({0: [1, 1, 1, 1], 1: [2, 6], 2: [0]})
    assert [fold["recall@1"] for fold in direction.folds] == [1.0, 0.0, 0.0]
    assert [fold["recall@5"] for fold in direction.folds] == [1.0, 0.5, 0.0]
    assert direction.before.measures["recall@1"] == pytest.approx(1 / 3)
    assert direction.before.measures["recall@5"] == pytest.approx(1.5 / 3)
    assert direction.before.measures["mrr"] == pytest.approx((1 + (1 / 2 + 1 / 6) / 2 + 0) / 3)
    assert direction.before.measures["median_rank"] == 1.0


def test_one_fold_is_no_folds() -> None:
    assert folded({0: [1, 2]}).folds == ()


# Scores and depths


@pytest.mark.parametrize("scoring", SCORINGS)
def test_the_scores_that_one_run_compares_are_those_of_runs_of_their_own(scoring: Scoring) -> None:
    world = drawn(11)
    one_run = world.measured(candidates=12, scoring="itm+itc")
    for name, own in world.measured(candidates=12, scoring=scoring).items():
        assert one_run[name].scores[scoring] == dict(zip(CUTOFFS, recalls(own), strict=True))
        assert one_run[name].before.measures == own.before.measures


def test_the_scores_do_differ() -> None:
    compared = drawn(11).measured(candidates=12)[IMAGES].scores
    assert len({tuple(found.values()) for found in compared.values()}) > 2


@pytest.mark.parametrize("scoring", SCORINGS)
def test_every_score_orders_the_same_candidates(scoring: Scoring) -> None:
    world = drawn(11)
    pages = {(one.direction, one.query): one.rows.tobytes() for one in world.found(candidates=12, scoring="itm")}
    assert {
        (one.direction, one.query): one.rows.tobytes() for one in world.found(candidates=12, scoring=scoring)
    } == pages


@pytest.mark.parametrize("pooled", [None, 20])
def test_recall_at_a_depth_is_that_of_a_run_with_so_many_candidates(pooled: int | None) -> None:
    world = drawn(12)
    for name, deep in world.measured(candidates=20, scoring="itm+itc", pooled=pooled).items():
        assert deep.depths is not None
        assert deep.depths.candidates == (1, 2, 3, 5, 10, 20)
        for place, depth in enumerate(deep.depths.candidates):
            own = world.measured(candidates=depth, scoring="itm+itc", pooled=pooled)[name].after
            assert own is not None
            for measure in ("recall@1", "recall@10"):
                assert deep.depths.recall[measure][place] == own.measures[measure]


def test_the_cheapest_depth_is_the_least_within_half_a_point_of_the_best() -> None:
    """Of 200 queries, 100 are right with one candidate, 99 more from the second on, and the last with the third."""
    cosines = np.tile(np.array([0.9, 0.8, 0.7], dtype=np.float32), (200, 1))
    yes = np.zeros((200, 3))
    own = [0] * 100 + [1] * 99 + [2]
    yes[np.arange(200), own] = 5.0
    world = World(cosines, frozenset(enumerate(own)), yes)
    depths = to_images(world, candidates=3).depths
    assert depths is not None
    assert depths.recall["recall@1"] == (0.5, 0.995, 1.0)
    assert depths.cheapest == {"recall@1": 2, "recall@10": 2}


def test_milliseconds_grow_by_what_a_pair_takes() -> None:
    tally = Tally(IMAGES, items=4, scoring="itm", is_reranked=True, candidates=4)
    for query, (first, rerank) in enumerate([(2.0, 8.0), (4.0, 16.0)], start=1):
        page = [Judged(Candidate(i, 0.5, i), logit=float(-i), margin=0.0) for i in range(1, 5)]
        tally.add(Found(IMAGES, query, 0, pack(page), first, rerank), {1}, np.arange(1, 5))
    direction = tally.measured()
    assert direction.milliseconds == {"first_stage": 3.0, "rerank": 12.0, "pair": 3.0}
    assert direction.depths is not None
    assert direction.depths.candidates == (1, 2, 3, 4)
    assert direction.depths.milliseconds == (6.0, 9.0, 12.0, 15.0)


# Pictures that are gone


def two_pairs(shown: Shown) -> World:
    """Two texts and three pictures; each text's own is first by cosine and logit."""
    table = np.array([[0.9, 0.1, 0.5], [0.1, 0.9, 0.5]], dtype=np.float32)
    return World(table, frozenset({(0, 0), (1, 1)}), table.astype(np.float64), shown=shown)


@pytest.mark.parametrize("shown", [Shown(gone=frozenset({1})), Shown(going=frozenset({1}))])
def test_a_right_picture_that_is_gone_is_missed_after_reranking(shown: Shown) -> None:
    direction = two_pairs(shown).measured(candidates=3)[IMAGES]
    assert (recalls(direction, "before"), recalls(direction)) == ([1, 1, 1], [0.5, 0.5, 0.5])
    assert direction.misses["recall@1"][UNREAD] == direction.unread == 1


def test_a_wrong_picture_that_is_gone_is_in_nobody_s_way() -> None:
    direction = two_pairs(Shown(gone=frozenset({2, 3}))).measured(candidates=3)[IMAGES]
    assert [(one.query, one.after) for one in direction.best] == [(1001, 1)]


@pytest.mark.parametrize("shown", [Shown(gone=frozenset({1})), Shown(going=frozenset({1}))])
def test_a_query_s_own_picture_that_is_gone_is_missed_and_counted(shown: Shown) -> None:
    direction = two_pairs(shown).measured(candidates=3)[TEXTS]
    assert (recalls(direction, "before"), recalls(direction)) == ([1, 1, 1], [0.5, 0.5, 0.5])
    assert direction.unread == 1
    assert [(one.query, one.before, one.after) for one in direction.worst] == [(1, 1, None)]


def test_a_text_whose_candidates_are_all_gone_was_missed_because_they_could_not_be_read() -> None:
    direction = two_pairs(Shown(gone=frozenset({1, 2, 3}))).measured(candidates=3)[IMAGES]
    assert recalls(direction) == [0, 0, 0]
    assert direction.misses["recall@10"][UNREAD] == direction.unread == 2


def test_a_gallery_whose_pictures_are_all_gone_is_measured_by_the_first_stage() -> None:
    for direction in two_pairs(Shown(gone=frozenset({1, 2, 3}))).measured(candidates=1).values():
        assert (recalls(direction, "before"), recalls(direction)) == ([1, 1, 1], [0, 0, 0])
        assert sum(direction.misses["recall@1"].values()) == 2


def test_a_right_picture_outside_the_candidates_that_is_gone_would_not_have_won() -> None:
    world = replace(one_text(falling(4), {4}, [0.0, 0.0, 0.0, 9.0]), shown=Shown(gone=frozenset({4})))
    assert cause(to_images(world, candidates=3), 1) == ENCODER


# Going on


def test_queries_that_were_asked_are_not_asked_again() -> None:
    world = drawn(13)
    bench, encoder = world.benchmark(), world.encoder
    everything = {(one.direction, one.query): one.rows.tobytes() for one in world.found(candidates=12)}
    done = {IMAGES: set(range(1001, 1020)), TEXTS: {1, 2, 3}}
    left = [*run(bench, encoder, world.reranker("itm"), candidates=12, done=done)]
    asked = [(one.direction, one.query) for one in left]
    assert len(asked) == len(set(asked))
    assert {*asked, *((name, query) for name, queries in done.items() for query in queries)} == set(everything)
    assert not {text for text in encoder.read if int(text.split()[1]) < 1020}
    assert all(one.rows.tobytes() == everything[one.direction, one.query] for one in left)


def test_what_queries_found_is_given_in_small_batches() -> None:
    """200 texts: whoever takes the first page has not made anybody read all of them."""
    cosines = np.eye(200, dtype=np.float32)[:, :100]
    world = World(cosines, frozenset((i, i) for i in range(100)))
    encoder = world.encoder
    next(run(world.benchmark(), encoder, None, candidates=5))
    assert 0 < len(encoder.read) < 100
