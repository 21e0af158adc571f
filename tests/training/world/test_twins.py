from __future__ import annotations

import random
from dataclasses import replace

import pytest

from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import holds
from retrieval.training.world.galleries import gallery_scenes, quadruplets
from retrieval.training.world.scenes import Link, Scene, Thing, draw_scene, is_held_out, may_be_trained
from retrieval.training.world.twins import KINDS, twin, twins

CAT, CAR = Thing("cat", "red", 0, 0, facing="left"), Thing("car", "blue", 2, 0, count=2, size="", facing="right")
SCENE = Scene("beach", "day", "clear", (CAT, CAR))


def any_scene(scene: Scene) -> bool:
    return True


def one_twin(kind: str) -> Scene:
    found = twin(SCENE, kind, random.Random(1), any_scene)
    assert found is not None
    return found


def test_swapped_places_change_nothing_else() -> None:
    things = one_twin("places").things
    assert things == (replace(CAT, column=2), replace(CAR, column=0))


def test_swapped_tints_change_nothing_else() -> None:
    assert one_twin("tints").things == (replace(CAT, tint="blue"), replace(CAR, tint="red"))


def test_one_thing_is_flipped() -> None:
    changed = [(a.facing, b.facing) for a, b in zip(SCENE.things, one_twin("facing").things, strict=True) if a != b]
    assert changed in ([("left", "right")], [("right", "left")])


def test_one_count_changes_by_one() -> None:
    counts = sorted(abs(a.count - b.count) for a, b in zip(SCENE.things, one_twin("count").things, strict=True))
    assert counts == [0, 1]


def test_one_noun_changes() -> None:
    assert sum(a.noun != b.noun for a, b in zip(SCENE.things, one_twin("noun").things, strict=True)) == 1


def test_a_kind_that_a_scene_has_no_room_for_has_no_twin() -> None:
    lone = Scene("beach", "day", "clear", (Thing("ball", "red", 0, 0),))
    assert [kind for kind in KINDS if twin(lone, kind, random.Random(1), any_scene)] == ["count", "noun"]


def test_things_that_touch_trade_roles() -> None:
    stacked = Scene(
        "beach", "day", "clear", (Thing("apple", "red", 1, 0), Thing("house", "green", 1, 1)), (Link("on", 0, 1),)
    )
    changed = twin(stacked, "places", random.Random(1), any_scene)
    assert changed is not None
    assert changed.links == (Link("on", 1, 0),)


@pytest.mark.parametrize("seed", range(5))
def test_twins_are_false_of_each_other(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        scene = draw_scene(rng)
        for _, other in twins(scene, rng, may_be_trained, count=6):
            assert may_be_trained(other)
            assert not holds(fullest_claim(scene), other)
            assert not holds(fullest_claim(other), scene)


def test_a_gallery_is_made_of_quadruplets_of_twins_that_training_never_sees() -> None:
    found = quadruplets(30, seed=1)
    assert {len(one.scenes) for one in found} == {4}
    assert all(len(set(one.kinds)) == 3 for one in found)
    assert all(is_held_out(scene) for one in found for scene in one.scenes)
    assert len({scene for one in found for scene in one.scenes}) == 120
    assert gallery_scenes(10, seed=1) == [scene for one in found for scene in one.scenes][:10]
