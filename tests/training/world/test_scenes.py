from __future__ import annotations

import random
from itertools import combinations

from retrieval.training.world.backdrops import PLACES, TIMES, WEATHERS
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import PLACES as PLACE_WORDS
from retrieval.training.world.claims import holds
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUN_OF, NOUNS, SIGN, SINGULAR_OF, plural
from retrieval.training.world.scenes import (
    Scene,
    boxes,
    draw_held_out,
    draw_scene,
    in_reading_order,
    is_held_out,
    may_be_trained,
    tiers_of,
)


def drawn(count: int, seed: int = 5) -> list[Scene]:
    rng = random.Random(seed)
    return [draw_scene(rng) for _ in range(count)]


def triples(scene: Scene) -> set[frozenset[tuple[str, str]]]:
    """Pairs of tinted nouns, in whatever relation."""
    kinds = [(thing.noun, thing.tint) for thing in scene.things]
    return {frozenset(pair) for pair in combinations(kinds, 2)}


def test_the_world_is_large_enough() -> None:
    assert len(NOUNS) >= 60
    assert len(TINTS) == 8
    assert len(PLACES) >= 8
    assert (len(TIMES), len(WEATHERS)) == (3, 2)
    assert len(SIGN_WORDS) == 50
    assert set(PLACE_WORDS) == set(PLACES)
    assert all(noun.synonyms for noun in NOUNS.values())


def test_every_word_means_one_noun() -> None:
    names = [name for noun in NOUNS.values() for name in noun.names]
    assert len(set(names)) == len(names)
    assert len(SINGULAR_OF) == len(names)
    assert not set(SIGN_WORDS) & {*NOUN_OF, *SINGULAR_OF, *TINTS}


def test_plurals_follow_the_rules_of_english() -> None:
    assert [plural(word) for word in ("cat", "bus", "church", "strawberry", "key", "box")] == [
        "cats",
        "buses",
        "churches",
        "strawberries",
        "keys",
        "boxes",
    ]


def test_a_scene_has_one_to_four_things_of_one_to_five() -> None:
    scenes = drawn(1500)
    assert {len(scene.things) for scene in scenes} == {1, 2, 3, 4}
    assert {thing.count for scene in scenes for thing in scene.things} == {1, 2, 3, 4, 5}


def test_everything_occurs_in_training() -> None:
    scenes = drawn(4000)
    things = [thing for scene in scenes for thing in scene.things]
    assert {thing.noun for thing in things} == set(NOUNS)
    assert {thing.tint for thing in things} == {*TINTS, ""}
    assert {thing.word for thing in things} == {*SIGN_WORDS, ""}
    assert {(scene.place, scene.time, scene.weather) for scene in scenes} == {
        (place, time, weather) for place in PLACES for time in TIMES for weather in WEATHERS
    }
    assert {link.kind for scene in scenes for link in scene.links} == {"on", "behind"}


def test_what_a_thing_has_fits_its_noun() -> None:
    for thing in (thing for scene in drawn(1000) for thing in scene.things):
        assert bool(thing.tint) == NOUNS[thing.noun].tinted
        assert bool(thing.facing) == NOUNS[thing.noun].faces
        assert bool(thing.word) == (thing.noun == SIGN)
        assert bool(thing.size) == (thing.count == 1 and thing.noun != SIGN)


def test_no_two_things_share_a_cell_or_a_name() -> None:
    for scene in drawn(1000):
        assert len({(thing.column, thing.row) for thing in scene.things}) == len(scene.things)
        assert len({(thing.noun, thing.tint) for thing in scene.things}) == len(scene.things)


def test_stickers_stay_inside_the_picture() -> None:
    for scene in drawn(1000):
        for left, top, right, bottom in boxes(scene):
            assert min(left, top) >= -0.01
            assert max(right, bottom) <= 1.01


def test_what_stands_on_something_touches_it_from_above() -> None:
    for scene in drawn(1000):
        for link in scene.links:
            one, other = boxes(scene)[link.subject], boxes(scene)[link.object]
            if link.kind == "on":
                assert abs(one[3] - other[1]) < 0.05
            else:
                assert one[0] < other[2]
                assert other[0] < one[2]


def test_reading_order_keeps_what_a_scene_shows() -> None:
    for scene in drawn(300):
        ordered = in_reading_order(scene)
        assert set(ordered.things) == set(scene.things)
        assert [(thing.column, thing.row) for thing in ordered.things] == sorted(
            (thing.column, thing.row) for thing in scene.things
        )
        assert holds(fullest_claim(scene), ordered)
        assert holds(fullest_claim(ordered), scene)


def test_training_never_shows_a_held_out_triple() -> None:
    rng = random.Random(1)
    kept = set().union(*(triples(draw_held_out(rng)) for _ in range(500)))
    trained = set().union(*(triples(scene) for scene in drawn(5000)))
    assert not kept & trained


def test_held_out_scenes_say_which_tier_they_belong_to() -> None:
    rng = random.Random(2)
    for _ in range(100):
        assert tiers_of(draw_held_out(rng).things) == {"triple"}
        assert "nouns" in tiers_of(draw_held_out(rng, tier="nouns").things)
        assert "tint" in tiers_of(draw_held_out(rng, tier="tint").things)
        assert is_held_out(draw_held_out(rng))
    assert all(may_be_trained(scene) and not is_held_out(scene) for scene in drawn(500))


def test_two_unseen_nouns_never_meet_in_training() -> None:
    rng = random.Random(3)
    kept = set()
    for _ in range(200):
        kept.add(frozenset(thing.noun for thing in draw_held_out(rng, tier="nouns").things))
    met = {frozenset(pair) for scene in drawn(5000) for pair in combinations([t.noun for t in scene.things], 2)}
    assert not kept & met
