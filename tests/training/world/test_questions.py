from __future__ import annotations

import random

from retrieval.training.world.questions import questions
from retrieval.training.world.scenes import Scene, Thing, draw_scene
from retrieval.training.world.vocabulary import words

SCENE = Scene(
    "beach",
    "dusk",
    "rain",
    (
        Thing("car", "red", 0, 0, size="small", facing="right"),
        Thing("cat", "blue", 1, 0, count=3, size="", facing="left"),
        Thing("sign", "", 1, 2, size="", word="open"),
    ),
)


def test_questions_have_the_answers_of_the_scene() -> None:
    rng = random.Random(3)
    asked = {one.text.rstrip("?"): one.answer for _ in range(200) for one in questions(SCENE, rng)}
    assert asked["what colour is the car"] == "red"
    assert asked["what colour are the cats"] == "blue"
    assert asked["how many cats are there"] == "three"
    assert asked["how big is the car"] == "small"
    assert asked["which way are the cats facing"] == "left"
    assert asked["what does the sign say"] == "open"
    assert asked["where is it"] == "beach"
    assert asked["what time is it"] == "evening"
    assert asked["is it raining"] == "yes"
    assert asked["what is below the cats"] == "sign"
    assert asked["is there a car"] == "yes"
    assert asked["is the car left of the cats"] == "yes"
    assert asked["are the cats left of the car"] == "no"
    assert "is there a cat" not in asked  # there are three: yes and no are both right


def test_every_question_can_be_said_in_the_words_of_the_world() -> None:
    known, rng = set(words()), random.Random(1)
    for _ in range(300):
        for one in questions(draw_scene(rng), rng):
            for word in f"{one.text} {one.answer}".replace("?", "").split():
                assert {word, word.removesuffix("s"), word.removesuffix("es")} & known
