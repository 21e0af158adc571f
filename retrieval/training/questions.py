"""Questions about a scene with their answers."""

from __future__ import annotations

import random
from itertools import permutations

from retrieval.training.captions import a_name
from retrieval.training.claims import OPPOSITE, RELATIONS, Mention, lies, mention_text
from retrieval.training.nouns import NOUNS, TINTS
from retrieval.training.scenes import PLACES, Scene, Thing

NUMBERS = ("no", "one", "two", "three")

_HOW_MANY = ("how many things are there", "how many objects are there", "how many things are in the picture")
_WHERE = ("where is it", "where is this", "what is the background")
_WHICH_TINT = ("what colour is", "what color is", "which colour is", "which color is")
_WHAT = ("what is this", "what is it", "what does this show", "what is in the photo")  # for a thing on its own


def questions(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """Questions about a scene with the answers that are right, in random order."""
    asked = [
        (rng.choice(_HOW_MANY), NUMBERS[len(scene.things)]),
        (rng.choice(_WHERE), PLACES[scene.place]),
        *_tint_questions(scene, rng),
        *_relation_questions(scene, rng),
        *_existence_questions(scene, rng),
    ]
    rng.shuffle(asked)
    return [(question + rng.choice(("", "?")), answer) for question, answer in asked]


def _tint_questions(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    return [
        (f"{rng.choice(_WHICH_TINT)} the {a_name(thing.noun, rng)}", thing.tint)
        for thing in scene.things
        if _is_alone(thing, scene)
    ]


def _relation_questions(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    asked: list[tuple[str, str]] = []
    alone = [thing for thing in scene.things if _is_alone(thing, scene)]
    for other in alone:
        for direction, phrases in RELATIONS.items():
            there = [thing for thing in scene.things if lies(direction, thing, other)]
            if len(there) < 2 and rng.random() < (1.0 if there else 0.1):
                answer = _naming(there[0]) if there else "nothing"
                asked.append((f"what is {rng.choice(phrases)} the {a_name(other.noun, rng)}", answer))
    for thing, other in permutations(alone, 2):
        direction = rng.choice([name for name in RELATIONS if lies(name, thing, other)])
        said = direction if rng.random() < 0.5 else OPPOSITE[direction]
        names = a_name(thing.noun, rng), a_name(other.noun, rng)
        asked.append((f"is the {names[0]} {rng.choice(RELATIONS[said])} the {names[1]}", _yes_or_no(said == direction)))
    return asked


def _existence_questions(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    thing = rng.choice(scene.things)
    noun, tint = rng.choice((thing.noun, rng.choice(list(NOUNS)))), rng.choice((thing.tint, rng.choice(list(TINTS))))
    asked = []
    for mention in (Mention(a_name(noun, rng), None), Mention(a_name(thing.noun, rng), tint)):
        there = any(mention.fits(other) for other in scene.things)
        asked.append((f"is there {mention_text(mention)}", _yes_or_no(there)))
    if len(scene.things) == 1:
        asked.append((rng.choice(_WHAT), _naming(thing)))
    return asked


def _naming(thing: Thing) -> str:
    return mention_text(Mention(thing.noun, thing.tint))


def _is_alone(thing: Thing, scene: Scene) -> bool:
    return sum(other.noun == thing.noun for other in scene.things) == 1


def _yes_or_no(truth: bool) -> str:
    return "yes" if truth else "no"
