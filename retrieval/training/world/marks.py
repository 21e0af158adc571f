"""Drawings as data: marks in unit coordinates (x right, y down), paints, tints, and the nouns that they make up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[int, int, int]
Kind = Literal["ellipse", "polygon", "box", "line", "arc", "pie"]

TINTS: dict[str, Rgb] = {
    "red": (221, 52, 46),
    "orange": (247, 140, 28),
    "yellow": (252, 214, 50),
    "green": (62, 165, 76),
    "blue": (46, 108, 214),
    "purple": (138, 72, 190),
    "pink": (248, 142, 186),
    "brown": (134, 86, 52),
}

# What a mark may be painted with besides "tint" and its two shades "dark" and "light".
PAINTS: dict[str, Rgb] = {
    "ink": (44, 42, 54),
    "white": (255, 253, 246),
    "beak": (246, 166, 44),
    "cheek": (240, 150, 150),
    "glass": (196, 228, 242),
    "leaf": (92, 158, 74),
    "metal": (168, 174, 186),
    "wood": (150, 108, 72),
    "skin": (246, 214, 170),
    "stone": (196, 190, 180),
    "cream": (250, 236, 206),
    "gold": (236, 190, 60),
    "rose": (226, 88, 96),
    "sky": (120, 178, 230),
    "straw": (228, 196, 120),
    "plum": (104, 70, 120),
}


@dataclass(frozen=True)
class Mark:
    """One primitive of a drawing.

    `points` are x, y pairs; a box, an ellipse, an arc and a pie give two corners. `angles` (degrees, clockwise from
    three o'clock) belong to arcs and pies, `width` to lines and arcs, and to boxes as the radius of their corners.
    """

    kind: Kind
    paint: str
    points: tuple[float, ...]
    width: float = 0.0
    angles: tuple[float, float] = (0.0, 360.0)


@dataclass(frozen=True)
class Noun:
    """An everyday thing: its drawing in the unit square, facing right where it faces, and what it may be called.

    The drawing fills the square and stands on its lower edge. `plurals` holds those that the rule of English does not
    give; `tinted` says that the drawing uses a tint, `faces` that it has a front on the right.
    """

    name: str
    marks: tuple[Mark, ...]
    synonyms: tuple[str, ...]
    tinted: bool = True
    faces: bool = False
    plurals: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


def ellipse(paint: str, *corners: float) -> Mark:
    """A filled ellipse between two corners."""
    return Mark("ellipse", paint, corners)


def polygon(paint: str, *points: float) -> Mark:
    """A filled polygon."""
    return Mark("polygon", paint, points)


def box(paint: str, *corners: float, radius: float = 0.0) -> Mark:
    """A filled rectangle, its corners rounded by `radius`."""
    return Mark("box", paint, corners, radius)


def line(paint: str, *points: float, width: float = 0.03) -> Mark:
    """A stroke through points."""
    return Mark("line", paint, points, width)


def arc(paint: str, *corners: float, start: float, end: float, width: float = 0.03) -> Mark:
    """A part of an ellipse's outline."""
    return Mark("arc", paint, corners, width, (start, end))


def pie(paint: str, *corners: float, start: float, end: float) -> Mark:
    """A filled slice of an ellipse."""
    return Mark("pie", paint, corners, 0.0, (start, end))


def blend(colour: Rgb, other: Rgb, share: float) -> Rgb:
    """A colour mixed with a share of another."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
