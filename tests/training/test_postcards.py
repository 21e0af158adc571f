from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import PIL
import pytest
from PIL import Image

from retrieval.training.captions import corrupt, fullest_caption, some_claim, with_another_noun, with_opposite_relations
from retrieval.training.claims import NotACaption, claim_text, holds, is_true, parse, wrong_words
from retrieval.training.nouns import NOUNS, TINTS
from retrieval.training.postcards import gallery_scenes, is_rendered, render, save_postcard, write_gallery
from retrieval.training.questions import questions
from retrieval.training.scenes import PLACES, Scene, Thing, draw_scene, is_held_out, key

# A red car on the left, a blue cat beside it, and a yellow star below the cat.
BEACH = Scene("beach", (Thing("car", "red", 0, 0), Thing("cat", "blue", 1, 0), Thing("star", "yellow", 1, 2)))


def pixel_digest(scene: Scene) -> str:
    return hashlib.sha256(render(scene).tobytes()).hexdigest()[:16]


def scenes(count: int, *, held_out: bool = False) -> list[Scene]:
    rng = random.Random(5)
    return [draw_scene(rng, held_out=held_out) for _ in range(count)]


def test_the_world_is_large_enough() -> None:
    assert len(NOUNS) >= 16
    assert {"penguin", "car"} <= set(NOUNS)
    assert len(TINTS) == 8
    assert len(PLACES) >= 5


@pytest.mark.skipif(PIL.__version__ != "13.0.0", reason="pixels are promised for the pinned Pillow")
def test_a_scene_is_the_same_pixels_everywhere() -> None:
    assert pixel_digest(BEACH) == "f9367b3995858910"


def test_the_same_scene_is_drawn_the_same_twice_and_another_differently() -> None:
    assert pixel_digest(BEACH) == pixel_digest(BEACH)
    assert pixel_digest(BEACH) != pixel_digest(Scene("snow", BEACH.things))


def test_a_postcard_is_a_square_rgb_picture() -> None:
    assert (render(BEACH).mode, render(BEACH).size) == ("RGB", (256, 256))


def test_the_fullest_caption_names_everything() -> None:
    assert fullest_caption(BEACH) == "a red car left of a blue cat and a yellow star on the beach"
    assert fullest_caption(Scene("night", BEACH.things[1:])) == "a blue cat above a yellow star at night"
    assert fullest_caption(Scene("snow", (Thing("apple", "orange", 1, 1),))) == "an orange apple in the snow"


@pytest.mark.parametrize(
    ("caption", "truth"),
    [
        ("a red car", True),
        ("an automobile", True),
        ("a blue car", False),
        ("a car left of a cat", True),
        ("a car to the left of a blue kitten on the beach", True),
        ("a cat left of a car", False),
        ("a cat to the right of a red car", True),
        ("a star under a cat", True),
        ("a star below a car", True),
        ("a star above a cat", False),
        ("a car left of a star and a cat", True),
        ("a red car and a blue cat and a yellow star", True),
        ("a car and a car", False),
        ("a red car in the snow", False),
        ("a dog", False),
    ],
)
def test_a_caption_is_true_or_false_of_a_scene(caption: str, truth: bool) -> None:
    assert is_true(caption, BEACH) is truth


@pytest.mark.parametrize("text", ["", "car", "two cats", "a red", "a car beside a cat", "a car on the moon", "a  car"])
def test_a_text_outside_the_grammar_is_no_caption(text: str) -> None:
    with pytest.raises(NotACaption):
        is_true(text, BEACH)


def test_every_caption_that_is_drawn_is_true_and_reads_back() -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        for claim in (parse(fullest_caption(scene)), some_claim(scene, rng)):
            assert holds(claim, scene)
            assert parse(claim_text(claim)) == claim


def test_a_corrupted_caption_is_false_and_says_which_words_are_wrong() -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        claim = some_claim(scene, rng)
        twin = corrupt(claim, scene, rng)
        assert not holds(twin, scene)
        assert any(wrong_words(twin, claim))
        assert not any(wrong_words(claim, claim))


def test_a_noun_twin_differs_in_one_word_besides_articles() -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        claim = parse(fullest_caption(scene))
        twin = with_another_noun(claim, scene, rng)
        assert not holds(twin, scene)
        assert sum(wrong_words(twin, claim)) == 1


def test_wrong_words_are_marked_one_by_one() -> None:
    wrong = wrong_words(parse("a red dog right of a blue cat"), parse("a red car left of a blue cat"))
    assert wrong == [False, False, True, True, True, False, False, False]


def test_the_opposite_relation_is_false_of_two_different_things() -> None:
    claim = with_opposite_relations(parse(fullest_caption(BEACH)))
    assert claim_text(claim) == "a red car right of a blue cat and a yellow star on the beach"
    assert not holds(claim, BEACH)


def test_questions_have_the_answers_of_the_scene() -> None:
    rng = random.Random(3)
    asked = {question.rstrip("?"): answer for _ in range(60) for question, answer in questions(BEACH, rng)}
    assert asked["what colour is the car"] == "red"
    assert asked["how many things are there"] == "three"
    assert asked["where is it"] == "on the beach"
    assert asked["what is below the cat"] == "a yellow star"
    assert asked["is there a car"] == "yes"
    assert asked["is the cat left of the car"] == "no"


def test_what_is_held_out_depends_on_meaning_alone() -> None:
    moved = Scene("beach", tuple(reversed(BEACH.things)), variant=3)
    further = Scene("beach", (*BEACH.things[:2], Thing("star", "yellow", 1, 1, 0.3, 0.01, 0.01)))
    assert key(moved) == key(BEACH) == key(further)
    assert key(Scene("snow", BEACH.things)) != key(BEACH)


def test_training_never_sees_a_held_out_scene() -> None:
    shown = {key(scene) for scene in scenes(2000)}
    kept = {key(scene) for scene in scenes(500, held_out=True)}
    assert not shown & kept
    assert all(is_held_out(scene) for scene in gallery_scenes(100, seed=1))


def test_about_a_tenth_is_held_out() -> None:
    singles = [Scene(place, (Thing(noun, tint, 0, 0),)) for place in PLACES for noun in NOUNS for tint in TINTS]
    assert 0.07 < sum(map(is_held_out, singles)) / len(singles) < 0.13


def test_every_noun_tint_and_place_occurs_in_training() -> None:
    drawn = scenes(1500)
    assert {thing.noun for scene in drawn for thing in scene.things} == set(NOUNS)
    assert {thing.tint for scene in drawn for thing in scene.things} == set(TINTS)
    assert {scene.place for scene in drawn} == set(PLACES)


def test_a_saved_postcard_says_that_it_was_rendered(tmp_path: Path) -> None:
    save_postcard(BEACH, tmp_path / "card.png")
    assert is_rendered(tmp_path / "card.png")
    with Image.open(tmp_path / "card.png") as image:
        assert image.info["Sightline"] == "rendered postcard"  # what any reader of PNG sees
        assert image.convert("RGB").tobytes() == render(BEACH).tobytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt", b"\xff\xd8\xff\xe0 a photograph"],
)
def test_junk_is_not_rendered(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.png").write_bytes(content)
    assert not is_rendered(tmp_path / "junk.png")


def test_other_files_are_not_rendered(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert not is_rendered(tmp_path / "plain.png")
    assert not is_rendered(tmp_path / "missing.png")
    assert not is_rendered(tmp_path)


def test_a_gallery_lists_every_caption_that_is_true_of_a_picture(tmp_path: Path) -> None:
    write_gallery(tmp_path, scenes=12, seed=4)
    drawn = gallery_scenes(12, seed=4)
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    captions = [fullest_caption(scene) for scene in drawn]
    assert [line["file"] for line in lines] == [f"postcard-{number:04d}.png" for number in range(1, 13)]
    for line, scene, caption in zip(lines, drawn, captions, strict=True):
        assert is_rendered(tmp_path / line["file"])
        assert line["texts"][0] == caption
        assert set(line["texts"]) == {text for text in captions if is_true(text, scene)}
