"""What a postcard shows: one to three things on a grid in front of a place, drawn at random or kept out of training."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace

from retrieval.training.nouns import NOUNS, TINTS

GRID = 3
SPACING = 0.32  # between the centres of cells, in pictures: the outer stickers stay whole
HELD_OUT_SHARE = 0.1

PLACES: dict[str, str] = {
    "paper": "on plain paper",
    "beach": "on the beach",
    "grass": "on the grass",
    "snow": "in the snow",
    "night": "at night",
    "street": "on the street",
}


@dataclass(frozen=True)
class Thing:
    """A tinted noun in a cell of the grid; `scale`, `dx` and `dy` (shares of the picture) only vary the drawing."""

    noun: str
    tint: str
    column: int
    row: int
    scale: float = 0.28
    dx: float = 0.0
    dy: float = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        """Where the thing is drawn: shares of the picture from the left and from the top."""
        return 0.5 + (self.column - 1) * SPACING + self.dx, 0.5 + (self.row - 1) * SPACING + self.dy


@dataclass(frozen=True)
class Scene:
    """A place, the things in front of it, in the order in which captions name them, and a variant of the backdrop."""

    place: str
    things: tuple[Thing, ...]
    variant: int = 0


def draw_scene(rng: random.Random, *, held_out: bool) -> Scene:
    """Draw a scene, either one that training may see or one that it never does."""
    while True:
        scene = _any_scene(rng)
        if is_held_out(scene) == held_out:
            return scene


def is_held_out(scene: Scene) -> bool:
    """Whether a scene is kept out of training: a share of all keys, chosen by their digest."""
    digest = hashlib.sha256(key(scene).encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def key(scene: Scene) -> str:
    """What a scene means: its place, things and their order along both axes, whatever the exact cells and sizes."""
    columns = sorted({thing.column for thing in scene.things})
    rows = sorted({thing.row for thing in scene.things})
    things = sorted(
        f"{thing.tint} {thing.noun} {columns.index(thing.column)} {rows.index(thing.row)}" for thing in scene.things
    )
    return " | ".join([scene.place, *things])


def in_reading_order(scene: Scene) -> Scene:
    """The same scene, its things named from left to right, then from top to bottom."""
    return replace(scene, things=tuple(sorted(scene.things, key=lambda thing: (thing.column, thing.row))))


def _any_scene(rng: random.Random) -> Scene:
    count = rng.choices((1, 2, 3), weights=(2, 5, 3))[0]
    cells = rng.sample(range(GRID * GRID), count)
    nouns, tints = list(NOUNS), list(TINTS)
    things: list[Thing] = []
    while len(things) < count:
        cell = cells[len(things)]
        noun, tint = rng.choice(nouns), rng.choice(tints)
        if any((noun, tint) == (other.noun, other.tint) for other in things):
            continue
        scale, dx, dy = rng.choice((0.25, 0.30)), rng.uniform(-0.015, 0.015), rng.uniform(-0.015, 0.015)
        things.append(Thing(noun, tint, cell % GRID, cell // GRID, scale, dx, dy))
    return Scene(rng.choice(list(PLACES)), tuple(things), rng.randrange(4))
