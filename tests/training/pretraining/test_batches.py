from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from retrieval.training.losses import IGNORED
from retrieval.training.pretraining.batches import ABSENT, Batches, look, truths, twin_scenes, where
from retrieval.training.world.claims import parse
from retrieval.training.world.nouns import NOUNS
from retrieval.training.world.scenes import Link, Scene, Thing, may_be_trained
from retrieval.training.world.vocabulary import Words, vocabulary, words

WORDS = Words(vocabulary(words()), torch.device("cpu"))
CAR, CAT = (
    Thing("car", "red", 0, 0, size="small", facing="right"),
    Thing("cat", "blue", 2, 1, count=3, size="", facing="left"),
)
SCENE = Scene("beach", "night", "rain", (CAR, CAT))
NUMBERS = {noun: number for number, noun in enumerate(NOUNS, start=1)}


def batch(phase: str, step: int, seed: int = 1) -> Any:
    return Batches(phase, WORDS, seed=seed, size=6, resolution=24).draw(step)


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else vars(value).values()
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.mark.parametrize("phase", ["see", "match", "caption", "vqa"])
def test_a_batch_depends_on_seed_and_step_alone(phase: str) -> None:
    one, same, other = (tensors(batch(phase, step)) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_second_scene_is_a_twin_and_none_is_held_out() -> None:
    scenes = twin_scenes(random.Random(1), 40)
    assert all(may_be_trained(scene) for scene in scenes)
    for one, other in zip(scenes[::2], scenes[1::2], strict=True):
        assert one != other
        assert (one.place, one.time, one.weather, len(one.things)) == (
            other.place,
            other.time,
            other.weather,
            len(other.things),
        )


def test_patches_say_what_lies_under_them() -> None:
    pictures = look([SCENE], 24)
    assert pictures.pixels.shape == (1, 3, 24, 24)
    labels = {kind: values[0].tolist() for kind, values in pictures.patches.items()}
    assert [at for at, noun in enumerate(labels["noun"]) if noun] == [0, 5]
    assert (labels["noun"][0], labels["noun"][5]) == (NUMBERS["car"], NUMBERS["cat"])
    assert (labels["count"][0], labels["count"][5]) == (1, 3)
    assert (labels["size"][0], labels["size"][5]) == (1, 0)
    assert (labels["facing"][0], labels["facing"][5]) == (2, 1)
    assert labels["touch"] == [0] * 9


def test_what_touches_has_a_role() -> None:
    stacked = Scene(
        "snow", "day", "clear", (Thing("apple", "red", 1, 0), Thing("house", "blue", 1, 1)), (Link("on", 0, 1),)
    )
    assert look([stacked], 24).patches["touch"][0].tolist() == [0, 1, 0, 0, 3, 0, 0, 0, 0]


def test_truths_says_which_captions_are_true_of_which_scenes() -> None:
    scenes = [SCENE, Scene("snow", "day", "clear", (CAR,))]
    claims = [
        parse(text) for text in ("a red car", "a car left of three cats", "three cats left of a car", "a car by day")
    ]
    assert truths(claims, scenes).tolist() == [[True, True, False, False], [True, False, False, True]]


def test_a_noun_is_where_it_is_or_absent_or_in_two_places() -> None:
    twice = Scene("snow", "day", "clear", (CAR, Thing("car", "blue", 1, 1)))
    cells = where([SCENE, twice])
    assert cells[0, NUMBERS["cat"]] == 5
    assert cells[0, NUMBERS["dog"]] == ABSENT
    assert cells[1, NUMBERS["car"]] == IGNORED


def test_labels_of_words_are_those_of_their_tokens() -> None:
    drawn = batch("match", 0)
    texts = drawn.more
    assert texts.ids.shape == texts.mask.shape == texts.nouns.shape == drawn.wrong.shape
    assert (drawn.wrong[texts.mask == 0] == IGNORED).all()
    n = len(drawn.pictures.pixels)
    assert (drawn.wrong[:n] != 1).all()  # the first captions are true
    assert (drawn.wrong[n : 2 * n] == 1).any(dim=1).all()  # the second false
    assert drawn.matches.tolist() == [True] * n + [False] * (2 * n)
    assert drawn.truth.diagonal().all()


def test_some_false_captions_have_a_word_that_nobody_knows() -> None:
    unknown = WORDS["[UNK]"]
    drawn = [batch("match", step) for step in range(40)]
    strange = [(one.more.ids == unknown).any(dim=1) for one in drawn]
    assert any(rows.any() for rows in strange)
    assert not any(one.matches[rows].any() for one, rows in zip(drawn, strange, strict=True))


def test_only_what_follows_the_prompt_is_scored_in_a_caption() -> None:
    drawn = batch("caption", 0)
    assert not drawn.counted[:, :4].any()  # [DEC] a picture of
    assert drawn.counted[:, 4].all()
    assert torch.equal(drawn.counted[:, 4:], drawn.mask[:, 4:].bool())


def test_questions_are_about_the_picture_of_their_row() -> None:
    drawn = batch("vqa", 0)
    assert drawn.rows.max() < len(drawn.pictures.pixels)
    assert len(drawn.rows) == len(drawn.questions.ids) == len(drawn.answers)
