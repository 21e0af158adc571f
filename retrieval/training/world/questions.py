"""Questions about a scene with their answers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import permutations

from retrieval.training.world.captions import a_name
from retrieval.training.world.claims import NUMBERS, OPPOSITE, RELATIONS, Mention, lies, mention_text
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUN_OF, NOUNS, SIGN, plural
from retrieval.training.world.scenes import Scene, Thing


@dataclass(frozen=True)
class Question:
    """A question, its answer, and what it asks about (a name for reports)."""

    text: str
    answer: str
    about: str


_WHERE = ("where is it", "where is this", "what is the background")
_WHEN = ("what time is it", "when is this")
_RAIN = ("is it raining", "does it rain")
_WHICH_TINT = ("what colour", "what color", "which colour", "which color")
_WHAT = ("what is this", "what is it", "what does this show", "what is in the picture")  # for a thing on its own
_TIMES = {"day": "day", "dusk": "evening", "night": "night"}
_DRAWN = [name for name in NOUNS if name != SIGN]

WORDS = (
    *_WHERE,
    *_WHEN,
    *_RAIN,
    *_WHICH_TINT,
    *_WHAT,
    *_TIMES.values(),
    "how many are there",
    "what does the sign say",
    "which way is the facing",
    "how big is the",
    "is there a an",
    "are",
    "yes no nothing ?",
)


def questions(scene: Scene, rng: random.Random) -> list[Question]:
    """Questions about a scene with the answers that are right, in random order."""
    asked = [
        Question(rng.choice(_WHERE), scene.place, "place"),
        Question(rng.choice(_WHEN), _TIMES[scene.time], "time"),
        Question(rng.choice(_RAIN), _yes_or_no(scene.weather == "rain"), "weather"),
        *_about_things(scene, rng),
        *_about_relations(scene, rng),
        *_about_existence(scene, rng),
    ]
    rng.shuffle(asked)
    return [Question(one.text + rng.choice(("", "?")), one.answer, one.about) for one in asked]


def _about_things(scene: Scene, rng: random.Random) -> list[Question]:
    asked = []
    for thing in scene.things:
        if not _is_alone(thing, scene):
            continue
        name, is_are = _name(thing, rng), "is" if thing.count == 1 else "are"
        if thing.tint:
            asked.append(Question(f"{rng.choice(_WHICH_TINT)} {is_are} the {name}", thing.tint, "tint"))
        if thing.facing:
            asked.append(Question(f"which way {is_are} the {name} facing", thing.facing, "facing"))
        if thing.size:
            asked.append(Question(f"how big is the {name}", thing.size, "size"))
        if thing.word:
            asked.append(Question("what does the sign say", thing.word, "word"))
        else:
            several = plural(a_name(thing.noun, rng))
            asked.append(Question(f"how many {several} are there", NUMBERS[thing.count], "count"))
    if rng.random() < 0.2:
        noun = _absent(scene, rng)
        asked.append(Question(f"how many {plural(a_name(noun, rng))} are there", NUMBERS[0], "count"))
    return asked


def _about_relations(scene: Scene, rng: random.Random) -> list[Question]:
    asked: list[Question] = []
    numbers = range(len(scene.things))
    alone = [at for at in numbers if _is_alone(scene.things[at], scene)]
    for other in alone:
        for direction, phrases in RELATIONS.items():
            there = [at for at in numbers if lies(direction, at, other, scene)]
            if len(there) < 2 and rng.random() < (1.0 if there else 0.05):
                answer = scene.things[there[0]].noun if there else "nothing"
                text = f"what is {rng.choice(phrases)} the {_name(scene.things[other], rng)}"
                asked.append(Question(text, answer, "what lies there"))
    for one, other in permutations(alone, 2):
        direction = rng.choice([name for name in RELATIONS if lies(name, one, other, scene)])
        said = direction if rng.random() < 0.5 else OPPOSITE[direction]
        names = _name(scene.things[one], rng), _name(scene.things[other], rng)
        verb = "is" if scene.things[one].count == 1 else "are"
        text = f"{verb} the {names[0]} {rng.choice(RELATIONS[said])} the {names[1]}"
        asked.append(Question(text, _yes_or_no(said == direction), "relation"))
    return asked


def _about_existence(scene: Scene, rng: random.Random) -> list[Question]:
    thing = rng.choice(scene.things)
    mentions = [Mention(a_name(thing.noun if rng.random() < 0.5 else _absent(scene, rng), rng))]
    if thing.tint:
        tint = thing.tint if rng.random() < 0.5 else rng.choice(list(TINTS))
        mentions.append(Mention(a_name(thing.noun, rng), tint))
    if thing.word:
        mentions.append(Mention(SIGN, word=thing.word if rng.random() < 0.5 else rng.choice(SIGN_WORDS)))
    asked = [
        Question(
            f"is there {mention_text(mention)}",
            _yes_or_no(any(mention.fits(other) for other in scene.things)),
            "existence",
        )
        for mention in mentions
        if not _is_there_in_a_group(mention, scene)
    ]
    if len(scene.things) == 1:
        asked.append(Question(rng.choice(_WHAT), mention_text(Mention(thing.noun, thing.tint, thing.count)), "what"))
    return asked


def _is_there_in_a_group(mention: Mention, scene: Scene) -> bool:
    """Whether there are several of what is asked for: "is there a cat" about three cats has no one answer."""
    return any(thing.noun == NOUN_OF[mention.name] and thing.count > 1 for thing in scene.things)


def _name(thing: Thing, rng: random.Random) -> str:
    name = a_name(thing.noun, rng)
    return name if thing.count == 1 else plural(name)


def _absent(scene: Scene, rng: random.Random) -> str:
    there = {thing.noun for thing in scene.things}
    return rng.choice([name for name in _DRAWN if name not in there])


def _is_alone(thing: Thing, scene: Scene) -> bool:
    return sum(other.noun == thing.noun for other in scene.things) == 1


def _yes_or_no(truth: bool) -> str:
    return "yes" if truth else "no"
