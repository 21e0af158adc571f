"""What a postcard shows: one to four things, or groups of one kind, on a grid in front of a place.

Some combinations never occur in training, so that what a model makes of them can be measured. Which ones follows from
digests of the names alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal

from retrieval.training.world.backdrops import PLACES, TIMES, WEATHERS
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUNS, SIGN

GRID = 3
SPACING = 0.325  # between the centres of cells, in pictures: the outer stickers stay whole
VARIANTS = 4  # of every backdrop
MOST = 5  # of a kind in one cell

SMALL, BIG = 0.21, 0.30  # the side of a sticker, in pictures
GROUP = 0.32

Tier = Literal["tint", "nouns", "triple"]
LinkKind = Literal["on", "behind"]
Allowed = Callable[["tuple[Thing, ...]"], bool]

_SHARES: dict[Tier, float] = {"tint": 0.03, "nouns": 0.03, "triple": 0.25}


@dataclass(frozen=True)
class Thing:
    """A noun in a cell of the grid: how many of it, in which tint, how big, facing where; a sign has a word.

    `tint` is empty where the drawing has colours of its own, `size` ("small" or "big") of a sign and where there are
    several, `facing` ("left" or "right") where it has no front. `dx` and `dy`, shares of the picture, only vary the
    drawing.
    """

    noun: str
    tint: str
    column: int
    row: int
    count: int = 1
    size: str = "big"
    facing: str = ""
    word: str = ""
    dx: float = 0.0
    dy: float = 0.0

    @property
    def side(self) -> float:
        """The side of its sticker: a share of the picture."""
        return GROUP if self.count > 1 else SMALL if self.size == "small" else BIG


@dataclass(frozen=True)
class Link:
    """One thing on another or behind it: numbers of things in the scene."""

    kind: LinkKind
    subject: int
    object: int


@dataclass(frozen=True)
class Scene:
    """A place at a time in a weather, the things in front of it in the order of its captions, and how some touch."""

    place: str
    time: str
    weather: str
    things: tuple[Thing, ...]
    links: tuple[Link, ...] = ()
    variant: int = 0


def centres(scene: Scene) -> list[tuple[float, float]]:
    """Where each thing is drawn: shares of the picture from the left and from the top."""
    placed = [
        (0.5 + (thing.column - 1) * SPACING + thing.dx, 0.5 + (thing.row - 1) * SPACING + thing.dy)
        for thing in scene.things
    ]
    for link in scene.links:
        (x, y), (other_x, other_y) = placed[link.subject], placed[link.object]
        subject, other = scene.things[link.subject], scene.things[link.object]
        if link.kind == "on":
            gap = (other_y - y - (subject.side + other.side) / 2) / 2 + 0.012
            placed[link.subject], placed[link.object] = (other_x, y + gap), (other_x, other_y - gap)
        else:
            gap = (abs(other_x - x) - 0.21) / 2
            step = gap if other_x > x else -gap
            placed[link.subject], placed[link.object] = (x + step, y - 0.015), (other_x - step, other_y + 0.005)
    return [
        (_inside(x, thing.side), _inside(y, thing.side)) for thing, (x, y) in zip(scene.things, placed, strict=True)
    ]


def _inside(middle: float, side: float) -> float:
    return min(max(middle, side / 2), 1 - side / 2)


def boxes(scene: Scene) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each thing's sticker: shares of the picture."""
    return [
        (x - thing.side / 2, y - thing.side / 2, x + thing.side / 2, y + thing.side / 2)
        for thing, (x, y) in zip(scene.things, centres(scene), strict=True)
    ]


def in_reading_order(scene: Scene) -> Scene:
    """The same scene, its things in the order from left to right, then from top to bottom."""
    order = sorted(range(len(scene.things)), key=lambda at: (scene.things[at].column, scene.things[at].row))
    links = tuple(
        replace(link, subject=order.index(link.subject), object=order.index(link.object)) for link in scene.links
    )
    return replace(scene, things=tuple(scene.things[at] for at in order), links=links)


def draw_scene(rng: random.Random, *, count: int | None = None) -> Scene:
    """Draw a scene that training may see, of `count` things if that is given."""
    count = count or rng.choices((1, 2, 3, 4), weights=(3, 8, 6, 3))[0]
    return arrange(_draw_kinds(rng, count, _may_be_trained), rng)


def draw_held_out(rng: random.Random, *, count: int | None = None, tier: Tier = "triple") -> Scene:
    """Draw a scene all of whose pairs of things are kept out of training, by one tier and by no other.

    "triple": no two of its tinted nouns ever met; "nouns": no two of its nouns did; "tint": no noun had its tint.
    """
    count = count or rng.choices((2, 3, 4), weights=(6, 5, 2))[0]
    return arrange(_draw_kinds(rng, 2 if tier == "nouns" else count, TIER_TESTS[tier]), rng)


def tiers_of(things: tuple[Thing, ...]) -> set[Tier]:
    """Which tiers keep a scene of these things out of training; none: training may see it."""
    found: set[Tier] = {"tint" for thing in things if _tint_unseen(thing.noun, thing.tint)}
    for one, other in combinations(things, 2):
        found |= _pair_tiers((one.noun, one.tint), (other.noun, other.tint))
    return found


def is_held_out(scene: Scene) -> bool:
    """Whether every pair of a scene's things belongs to the tier "triple", and nothing to another."""
    return len(scene.things) > 1 and _all_triples(scene.things)


def may_be_trained(scene: Scene) -> bool:
    """Whether training may see a scene."""
    return not tiers_of(scene.things)


def arrange(kinds: list[Thing], rng: random.Random) -> Scene:
    """Put things into cells in front of a random place; now and then one on another, or behind it."""
    cells = [(cell % GRID, cell // GRID) for cell in rng.sample(range(GRID * GRID), len(kinds))]
    things = [replace(kind, column=column, row=row) for kind, (column, row) in zip(kinds, cells, strict=True)]
    links: tuple[Link, ...] = ()
    if len(things) > 1 and rng.random() < 0.35:
        links = _linked(things, rng)
    return Scene(
        rng.choice(PLACES),
        rng.choice(TIMES),
        rng.choice(WEATHERS),
        tuple(things),
        links,
        variant=rng.randrange(VARIANTS),
    )


def draw_kind(rng: random.Random) -> Thing:
    """A thing without its cell."""
    if rng.random() < 0.12:
        return _shaken(Thing(SIGN, "", 0, 0, size="", word=rng.choice(SIGN_WORDS)), rng)
    noun = rng.choice(_DRAWN)
    count = rng.choices(range(1, MOST + 1), weights=(10, 2, 2, 2, 2))[0]
    return _shaken(
        Thing(
            noun,
            rng.choice(_TINTS) if NOUNS[noun].tinted else "",
            0,
            0,
            count=count,
            size="" if count > 1 else rng.choice(("small", "big")),
            facing=rng.choice(("left", "right")) if NOUNS[noun].faces else "",
        ),
        rng,
    )


_DRAWN = [name for name in NOUNS if name != SIGN]
_TINTS = list(TINTS)


def _shaken(thing: Thing, rng: random.Random) -> Thing:
    return replace(thing, dx=rng.uniform(-0.015, 0.015), dy=rng.uniform(-0.015, 0.015))


def _draw_kinds(rng: random.Random, count: int, allowed: Allowed) -> list[Thing]:
    while True:
        kinds: list[Thing] = []
        for _ in range(400):
            kind = draw_kind(rng)
            if allowed((*kinds, kind)):
                kinds.append(kind)
            if len(kinds) == count:
                return kinds


def _linked(things: list[Thing], rng: random.Random) -> tuple[Link, ...]:
    """Bring the second thing next to the first, if a cell is free there: the first on it or behind it."""
    first, kind = things[0], rng.choice(("on", "behind"))
    taken = {(thing.column, thing.row) for thing in things[2:]}
    if kind == "on":
        cells = [(first.column, first.row + 1)]
    else:
        cells = [(first.column - 1, first.row), (first.column + 1, first.row)]
        if things[0].side < BIG or things[1].side < BIG or first.noun == SIGN:
            return ()
    cells = [cell for cell in cells if cell not in taken and 0 <= cell[0] < GRID and cell[1] < GRID]
    if not cells:
        return ()
    column, row = rng.choice(cells)
    things[1] = replace(things[1], column=column, row=row)
    return (Link("on" if kind == "on" else "behind", 0, 1),)


@lru_cache(maxsize=65536)
def _tint_unseen(noun: str, tint: str) -> bool:
    return bool(tint) and _digest_share(f"{tint} {noun}") < _SHARES["tint"]


@lru_cache(maxsize=524288)
def _pair_tiers(one: tuple[str, str], other: tuple[str, str]) -> frozenset[Tier]:
    found: set[Tier] = set()
    nouns = sorted((one[0], other[0]))
    if nouns[0] != nouns[1] and _digest_share(" & ".join(nouns)) < _SHARES["nouns"]:
        found.add("nouns")
    tinted = sorted(f"{tint} {noun}" for noun, tint in (one, other))
    if _digest_share(" & ".join(tinted)) < _SHARES["triple"]:
        found.add("triple")
    return frozenset(found)


def _digest_share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def _distinct(things: tuple[Thing, ...]) -> bool:
    kinds = [(thing.noun, thing.tint) for thing in things]
    return len(set(kinds)) == len(kinds) and sum(thing.noun == SIGN for thing in things) < 2


def _may_be_trained(things: tuple[Thing, ...]) -> bool:
    return _distinct(things) and not tiers_of(things)


def _all_triples(things: tuple[Thing, ...]) -> bool:
    if not _distinct(things) or any(_tint_unseen(thing.noun, thing.tint) for thing in things):
        return False
    return all(
        _pair_tiers((one.noun, one.tint), (other.noun, other.tint)) == {"triple"}
        for one, other in combinations(things, 2)
    )


def _nouns_unseen(things: tuple[Thing, ...]) -> bool:
    return (
        _distinct(things)
        and all(
            "nouns" in _pair_tiers((one.noun, one.tint), (other.noun, other.tint))
            for one, other in combinations(things, 2)
        )
        and not any(_tint_unseen(thing.noun, thing.tint) for thing in things)
    )


def _tints_unseen(things: tuple[Thing, ...]) -> bool:
    return _distinct(things) and all(_tint_unseen(thing.noun, thing.tint) for thing in things)


TIER_TESTS: dict[Tier, Allowed] = {"triple": _all_triples, "nouns": _nouns_unseen, "tint": _tints_unseen}
