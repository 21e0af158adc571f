from __future__ import annotations

import random

import pytest

from retrieval.training.world.captions import corrupt, fullest_claim, some_claim, with_another_noun
from retrieval.training.world.claims import (
    NotACaption,
    claim_slots,
    claim_text,
    heads,
    holds,
    is_true,
    parse,
    requirements,
    shown,
    wrong_words,
)
from retrieval.training.world.scenes import Link, Scene, Thing, draw_scene

# A red car on the left, three blue cats beside it facing left, and below these a sign.
BEACH = Scene(
    "beach",
    "night",
    "rain",
    (
        Thing("car", "red", 0, 0, size="small", facing="right"),
        Thing("cat", "blue", 1, 0, count=3, size="", facing="left"),
        Thing("sign", "", 1, 2, size="", word="open"),
    ),
)
# An apple on a green house, and a tree behind it... the tree is the third thing and touches nothing.
TOUCHING = Scene(
    "field",
    "day",
    "clear",
    (Thing("apple", "red", 1, 0, size="small"), Thing("house", "green", 1, 1), Thing("tree", "pink", 0, 2)),
    (Link("on", 0, 1),),
)
BEHIND = Scene(
    "snow", "dusk", "clear", (Thing("tree", "red", 0, 1), Thing("house", "green", 1, 1)), (Link("behind", 0, 1),)
)


def scenes(count: int) -> list[Scene]:
    rng = random.Random(5)
    return [draw_scene(rng) for _ in range(count)]


def fullest(scene: Scene) -> str:
    return claim_text(fullest_claim(scene))


def test_the_fullest_caption_says_everything() -> None:
    assert fullest(BEACH) == (
        "a small red car facing right to the left of three blue cats facing left and a sign saying open"
        " on the beach on a rainy night"
    )
    assert fullest(TOUCHING) == (
        "a small red apple on a big green house and a big pink tree in the field on a clear day"
    )
    assert fullest(BEHIND) == "a big red tree behind a big green house in the snow on a clear evening"


@pytest.mark.parametrize(
    ("caption", "truth"),
    [
        ("a red car", True),
        ("an automobile", True),
        ("a blue car", False),
        ("a small car", True),
        ("a big car", False),
        ("a car facing right", True),
        ("a car facing left", False),
        ("three cats", True),
        ("three kittens facing left", True),
        ("two cats", False),
        ("a cat", False),
        ("a sign saying open", True),
        ("a sign saying stop", False),
        ("a car left of three cats", True),
        ("a car to the left of three blue kittens on the beach", True),
        ("three cats left of a car", False),
        ("a sign under three cats", True),
        ("a sign below a car", True),
        ("a car over a sign", True),
        ("a car on three cats", False),
        ("a car behind three cats", False),
        ("a car left of a sign and three cats", True),
        ("a car and a car", False),
        ("a red car in the snow", False),
        ("a red car at night", True),
        ("a red car in the rain", True),
        ("a red car in clear weather", False),
        ("a red car on a rainy night", True),
        ("a red car on the beach on a rainy evening", False),
        ("a dog", False),
    ],
)
def test_a_caption_is_true_or_false_of_a_scene(caption: str, truth: bool) -> None:
    assert is_true(caption, BEACH) is truth


@pytest.mark.parametrize(
    ("caption", "scene", "truth"),
    [
        ("an apple on a house", TOUCHING, True),
        ("an apple on top of a house", TOUCHING, True),
        ("an apple above a house", TOUCHING, True),
        ("a house on an apple", TOUCHING, False),
        ("a house below an apple", TOUCHING, True),
        ("an apple on a tree", TOUCHING, False),
        ("a tree behind a house", BEHIND, True),
        ("a house in front of a tree", BEHIND, True),
        ("a house behind a tree", BEHIND, False),
        ("a tree left of a house", BEHIND, True),
    ],
)
def test_things_that_touch_are_on_or_behind_each_other(caption: str, scene: Scene, truth: bool) -> None:
    assert is_true(caption, scene) is truth


@pytest.mark.parametrize(
    "text",
    ["", "car", "cats", "two cat", "a red", "a car beside a cat", "a car on the moon", "a car facing up", "six cats"],
)
def test_a_text_outside_the_grammar_is_no_caption(text: str) -> None:
    with pytest.raises(NotACaption):
        is_true(text, BEACH)


def test_every_caption_that_is_drawn_is_true_and_reads_back() -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        for claim in (fullest_claim(scene), some_claim(scene, rng)):
            assert holds(claim, scene)
            assert requirements(claim) <= shown(scene)
            assert parse(claim_text(claim)) == claim


def test_a_corrupted_caption_is_false_and_says_which_words_are_wrong() -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        claim = some_claim(scene, rng)
        twin = corrupt(claim, scene, rng)
        assert not holds(twin, scene)
        assert any(wrong_words(twin, claim))
        assert not any(wrong_words(claim, claim))


def test_a_caption_with_another_noun_is_false() -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        claim = fullest_claim(scene)
        if all(mention.word for mention in claim.mentions):
            continue
        assert not holds(with_another_noun(claim, scene, rng), scene)


def test_a_signboard_without_its_word_can_still_be_said_wrongly() -> None:
    lone = Scene("beach", "day", "clear", (Thing("sign", "", 0, 0, size="", word="open"),))
    assert not holds(corrupt(parse("a sign"), lone, random.Random(1)), lone)


def test_wrong_words_are_marked_one_by_one() -> None:
    wrong = wrong_words(parse("a red dog right of two blue cats"), parse("a red car left of two blue cats"))
    assert wrong == [False, False, True, True, True, False, False, False]
    fewer = wrong_words(parse("a cat at night"), parse("two cats at night"))
    assert fewer == [True, False, False, False]


def test_heads_are_the_nouns_by_the_number_of_their_mention() -> None:
    claim = parse("a red car left of two blue cats at night")
    assert heads(claim) == [-1, -1, 0, -1, -1, -1, -1, 1, -1, -1]


def test_slots_say_what_relates() -> None:
    assert [slot.text for slot in claim_slots(parse("a car left of a cat")) if slot.relates] == ["left of"]
