"""Twins: a scene changed in one respect, so that its fullest caption and the other's are false of each other."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import holds
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUNS, SIGN
from retrieval.training.world.scenes import MOST, Scene, Thing

Allowed = Callable[[Scene], bool]

_DRAWN = [name for name in NOUNS if name != SIGN]
_ATTEMPTS = 12


def twin(scene: Scene, kind: str, rng: random.Random, allowed: Allowed) -> Scene | None:
    """The scene changed in one respect; None where nothing of that kind can be changed so that it is allowed."""
    for _ in range(_ATTEMPTS):
        changed = _CHANGES[kind](scene, rng)
        if changed is not None and allowed(changed) and _tell_apart(scene, changed):
            return changed
    return None


def twins(scene: Scene, rng: random.Random, allowed: Allowed, *, count: int) -> list[tuple[str, Scene]]:
    """Up to `count` twins of different kinds, with the names of their kinds, in random order."""
    found: list[tuple[str, Scene]] = []
    for kind in rng.sample(KINDS, len(KINDS)):
        if len(found) < count and (other := twin(scene, kind, rng, allowed)) is not None:
            found.append((kind, other))
    return found


def _tell_apart(scene: Scene, other: Scene) -> bool:
    return not holds(fullest_claim(scene), other) and not holds(fullest_claim(other), scene)


def _places_swapped(scene: Scene, rng: random.Random) -> Scene | None:
    """The two things of a clause of the fullest caption trade places; those that touch trade roles."""
    if len(scene.things) < 2:
        return None
    one = 2 * rng.randrange(len(scene.things) // 2)
    first, second = scene.things[one], scene.things[one + 1]
    if any(link.kind == "behind" for link in scene.links) and one == 0 and SIGN in (first.noun, second.noun):
        return None  # a sign that is half covered cannot be read
    moved = replace(first, column=second.column, row=second.row), replace(second, column=first.column, row=first.row)
    links = tuple(
        replace(link, subject=link.object, object=link.subject) if link.subject == one else link for link in scene.links
    )
    return replace(_with(scene, one, moved[0], one + 1, moved[1]), links=links)


def _tints_swapped(scene: Scene, rng: random.Random) -> Scene | None:
    tinted = [at for at, thing in enumerate(scene.things) if thing.tint]
    if len(tinted) < 2:
        return None
    one, two = rng.sample(tinted, 2)
    first, second = scene.things[one], scene.things[two]
    return _with(scene, one, replace(first, tint=second.tint), two, replace(second, tint=first.tint))


def _flipped(scene: Scene, rng: random.Random) -> Scene | None:
    facing = [at for at, thing in enumerate(scene.things) if thing.facing]
    if not facing:
        return None
    at = rng.choice(facing)
    thing = scene.things[at]
    return _with(scene, at, replace(thing, facing="left" if thing.facing == "right" else "right"))


def _another_count(scene: Scene, rng: random.Random) -> Scene | None:
    counted = [at for at, thing in enumerate(scene.things) if thing.noun != SIGN and not _is_linked(at, scene)]
    if not counted:
        return None
    at = rng.choice(counted)
    thing = scene.things[at]
    count = rng.choice([count for count in (thing.count - 1, thing.count + 1) if 1 <= count <= MOST])
    return _with(scene, at, replace(thing, count=count, size="" if count > 1 else "big"))


def _another_noun(scene: Scene, rng: random.Random) -> Scene | None:
    drawn = [at for at, thing in enumerate(scene.things) if thing.noun != SIGN]
    if not drawn:
        return None
    at = rng.choice(drawn)
    thing = scene.things[at]
    return _with(scene, at, _renamed(thing, rng.choice([name for name in _DRAWN if name != thing.noun]), rng))


def _another_word(scene: Scene, rng: random.Random) -> Scene | None:
    signs = [at for at, thing in enumerate(scene.things) if thing.word]
    if not signs:
        return None
    thing = scene.things[signs[0]]
    return _with(scene, signs[0], replace(thing, word=rng.choice([word for word in SIGN_WORDS if word != thing.word])))


_CHANGES: dict[str, Callable[[Scene, random.Random], Scene | None]] = {
    "places": _places_swapped,
    "tints": _tints_swapped,
    "facing": _flipped,
    "count": _another_count,
    "noun": _another_noun,
    "word": _another_word,
}
KINDS = tuple(_CHANGES)


def _renamed(thing: Thing, noun: str, rng: random.Random) -> Thing:
    tint = (thing.tint or rng.choice(list(TINTS))) if NOUNS[noun].tinted else ""
    facing = (thing.facing or rng.choice(("left", "right"))) if NOUNS[noun].faces else ""
    return replace(thing, noun=noun, tint=tint, facing=facing)


def _is_linked(at: int, scene: Scene) -> bool:
    return any(at in (link.subject, link.object) for link in scene.links)


def _with(scene: Scene, *changed: int | Thing) -> Scene:
    """The scene with things replaced: number, thing, number, thing, ..."""
    things = list(scene.things)
    for at, thing in zip(changed[::2], changed[1::2], strict=True):
        assert isinstance(at, int)
        assert isinstance(thing, Thing)
        things[at] = thing
    return replace(scene, things=tuple(things))
