"""The things that postcards show, as data: every noun is a list of marks in unit coordinates (x right, y down)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[int, int, int]
Kind = Literal["ellipse", "polygon", "box", "line", "arc", "pie"]


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
}

SYNONYMS: dict[str, tuple[str, ...]] = {
    "car": ("automobile",),
    "boat": ("ship",),
    "cup": ("mug",),
    "cat": ("kitten",),
    "dog": ("puppy",),
    "house": ("home",),
}


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


NOUNS: dict[str, tuple[Mark, ...]] = {
    "penguin": (
        ellipse("beak", 0.24, 0.88, 0.48, 0.98),
        ellipse("beak", 0.52, 0.88, 0.76, 0.98),
        polygon("dark", 0.24, 0.44, 0.06, 0.70, 0.13, 0.75, 0.28, 0.64),
        polygon("dark", 0.76, 0.44, 0.94, 0.70, 0.87, 0.75, 0.72, 0.64),
        ellipse("tint", 0.18, 0.26, 0.82, 0.95),
        ellipse("tint", 0.25, 0.03, 0.75, 0.50),
        ellipse("white", 0.29, 0.42, 0.71, 0.92),
        ellipse("white", 0.30, 0.14, 0.52, 0.42),
        ellipse("white", 0.48, 0.14, 0.70, 0.42),
        ellipse("ink", 0.37, 0.21, 0.44, 0.29),
        ellipse("ink", 0.56, 0.21, 0.63, 0.29),
        polygon("beak", 0.41, 0.31, 0.59, 0.31, 0.50, 0.43),
    ),
    "cat": (
        arc("dark", 0.62, 0.42, 0.98, 0.94, start=270, end=90, width=0.08),
        ellipse("tint", 0.22, 0.50, 0.78, 0.98),
        ellipse("light", 0.36, 0.62, 0.64, 0.96),
        polygon("tint", 0.16, 0.34, 0.16, 0.03, 0.44, 0.20),
        polygon("tint", 0.84, 0.34, 0.84, 0.03, 0.56, 0.20),
        polygon("cheek", 0.21, 0.24, 0.21, 0.11, 0.34, 0.20),
        polygon("cheek", 0.79, 0.24, 0.79, 0.11, 0.66, 0.20),
        ellipse("tint", 0.13, 0.14, 0.87, 0.62),
        ellipse("ink", 0.28, 0.30, 0.38, 0.43),
        ellipse("ink", 0.62, 0.30, 0.72, 0.43),
        polygon("cheek", 0.45, 0.43, 0.55, 0.43, 0.50, 0.49),
        line("ink", 0.04, 0.42, 0.26, 0.46, width=0.02),
        line("ink", 0.04, 0.54, 0.26, 0.50, width=0.02),
        line("ink", 0.96, 0.42, 0.74, 0.46, width=0.02),
        line("ink", 0.96, 0.54, 0.74, 0.50, width=0.02),
    ),
    "dog": (
        line("tint", 0.10, 0.46, 0.02, 0.22, width=0.08),
        box("tint", 0.08, 0.42, 0.70, 0.74, radius=0.14),
        box("tint", 0.10, 0.62, 0.22, 0.96, radius=0.04),
        box("dark", 0.25, 0.62, 0.36, 0.94, radius=0.04),
        box("dark", 0.45, 0.62, 0.56, 0.94, radius=0.04),
        box("tint", 0.58, 0.62, 0.70, 0.96, radius=0.04),
        box("tint", 0.50, 0.12, 0.84, 0.50, radius=0.14),
        box("light", 0.68, 0.28, 0.99, 0.50, radius=0.09),
        ellipse("ink", 0.90, 0.25, 1.00, 0.35),
        ellipse("ink", 0.70, 0.20, 0.78, 0.28),
        ellipse("dark", 0.44, 0.10, 0.62, 0.52),
        box("cheek", 0.52, 0.50, 0.74, 0.56, radius=0.02),
    ),
    "fish": (
        polygon("dark", 0.26, 0.50, 0.02, 0.22, 0.08, 0.50, 0.02, 0.78),
        polygon("dark", 0.40, 0.30, 0.58, 0.10, 0.74, 0.32),
        polygon("dark", 0.46, 0.70, 0.54, 0.90, 0.66, 0.70),
        ellipse("tint", 0.18, 0.22, 0.98, 0.78),
        pie("light", 0.18, 0.22, 0.98, 0.78, start=20, end=160),
        arc("dark", 0.44, 0.28, 0.66, 0.72, start=290, end=70, width=0.03),
        ellipse("white", 0.74, 0.34, 0.88, 0.48),
        ellipse("ink", 0.79, 0.37, 0.87, 0.45),
    ),
    "bird": (
        line("beak", 0.44, 0.74, 0.42, 0.96, width=0.035),
        line("beak", 0.56, 0.74, 0.58, 0.96, width=0.035),
        polygon("dark", 0.24, 0.56, 0.00, 0.36, 0.04, 0.62, 0.24, 0.74),
        ellipse("tint", 0.14, 0.36, 0.78, 0.84),
        ellipse("light", 0.40, 0.50, 0.76, 0.83),
        ellipse("tint", 0.50, 0.10, 0.90, 0.52),
        polygon("beak", 0.86, 0.24, 1.00, 0.33, 0.86, 0.40),
        ellipse("white", 0.67, 0.19, 0.81, 0.34),
        ellipse("ink", 0.72, 0.22, 0.80, 0.31),
        pie("dark", 0.16, 0.28, 0.60, 0.76, start=10, end=180),
    ),
    "turtle": (
        ellipse("leaf", 0.10, 0.66, 0.30, 0.92),
        ellipse("leaf", 0.52, 0.66, 0.72, 0.92),
        polygon("leaf", 0.08, 0.70, 0.00, 0.62, 0.14, 0.62),
        ellipse("leaf", 0.70, 0.36, 1.00, 0.66),
        ellipse("ink", 0.86, 0.43, 0.93, 0.50),
        pie("tint", 0.04, 0.16, 0.80, 1.16, start=180, end=360),
        polygon("dark", 0.34, 0.34, 0.50, 0.34, 0.56, 0.48, 0.42, 0.58, 0.28, 0.48),
        pie("dark", 0.06, 0.44, 0.26, 0.86, start=180, end=360),
        pie("dark", 0.58, 0.44, 0.78, 0.86, start=180, end=360),
        box("light", 0.03, 0.62, 0.81, 0.71, radius=0.04),
    ),
    "car": (
        polygon("tint", 0.18, 0.50, 0.32, 0.24, 0.68, 0.24, 0.84, 0.50),
        polygon("glass", 0.26, 0.48, 0.36, 0.30, 0.48, 0.30, 0.48, 0.48),
        polygon("glass", 0.53, 0.48, 0.53, 0.30, 0.65, 0.30, 0.75, 0.48),
        box("tint", 0.01, 0.46, 0.99, 0.74, radius=0.10),
        box("dark", 0.01, 0.65, 0.99, 0.74, radius=0.04),
        ellipse("beak", 0.90, 0.50, 0.99, 0.60),
        ellipse("ink", 0.13, 0.60, 0.39, 0.86),
        ellipse("ink", 0.62, 0.60, 0.88, 0.86),
        ellipse("metal", 0.20, 0.67, 0.32, 0.79),
        ellipse("metal", 0.69, 0.67, 0.81, 0.79),
    ),
    "bus": (
        box("tint", 0.02, 0.10, 0.98, 0.82, radius=0.08),
        box("dark", 0.02, 0.60, 0.98, 0.82, radius=0.04),
        box("glass", 0.08, 0.20, 0.26, 0.44, radius=0.03),
        box("glass", 0.30, 0.20, 0.48, 0.44, radius=0.03),
        box("glass", 0.52, 0.20, 0.70, 0.44, radius=0.03),
        box("glass", 0.75, 0.20, 0.94, 0.76, radius=0.03),
        line("ink", 0.845, 0.20, 0.845, 0.76, width=0.02),
        box("white", 0.06, 0.50, 0.70, 0.56),
        ellipse("ink", 0.12, 0.70, 0.34, 0.92),
        ellipse("ink", 0.56, 0.70, 0.78, 0.92),
        ellipse("metal", 0.18, 0.76, 0.28, 0.86),
        ellipse("metal", 0.62, 0.76, 0.72, 0.86),
    ),
    "boat": (
        line("wood", 0.48, 0.06, 0.48, 0.70, width=0.05),
        polygon("white", 0.52, 0.08, 0.52, 0.60, 0.92, 0.60),
        polygon("light", 0.44, 0.16, 0.44, 0.60, 0.12, 0.60),
        polygon("tint", 0.02, 0.66, 0.98, 0.66, 0.82, 0.94, 0.18, 0.94),
        polygon("dark", 0.02, 0.66, 0.98, 0.66, 0.95, 0.73, 0.05, 0.73),
    ),
    "rocket": (
        polygon("beak", 0.38, 0.82, 0.62, 0.82, 0.50, 1.00),
        polygon("dark", 0.34, 0.52, 0.12, 0.84, 0.36, 0.80),
        polygon("dark", 0.66, 0.52, 0.88, 0.84, 0.64, 0.80),
        polygon("tint", 0.50, 0.00, 0.64, 0.20, 0.70, 0.48, 0.64, 0.84, 0.36, 0.84, 0.30, 0.48, 0.36, 0.20),
        polygon("white", 0.50, 0.00, 0.64, 0.20, 0.36, 0.20),
        ellipse("white", 0.37, 0.30, 0.63, 0.56),
        ellipse("glass", 0.41, 0.34, 0.59, 0.52),
        box("dark", 0.36, 0.76, 0.64, 0.84),
    ),
    "tree": (
        box("wood", 0.42, 0.60, 0.58, 0.99, radius=0.03),
        line("wood", 0.50, 0.74, 0.66, 0.60, width=0.06),
        ellipse("dark", 0.08, 0.28, 0.56, 0.72),
        ellipse("dark", 0.44, 0.28, 0.92, 0.72),
        ellipse("tint", 0.22, 0.02, 0.78, 0.54),
        ellipse("tint", 0.14, 0.26, 0.52, 0.62),
        ellipse("tint", 0.48, 0.26, 0.86, 0.62),
        ellipse("light", 0.32, 0.12, 0.46, 0.24),
    ),
    "flower": (
        line("leaf", 0.50, 0.50, 0.50, 0.99, width=0.06),
        ellipse("leaf", 0.22, 0.74, 0.50, 0.88),
        ellipse("leaf", 0.50, 0.66, 0.78, 0.80),
        ellipse("tint", 0.37, 0.01, 0.63, 0.29),
        ellipse("tint", 0.37, 0.39, 0.63, 0.67),
        ellipse("tint", 0.16, 0.21, 0.44, 0.47),
        ellipse("tint", 0.56, 0.21, 0.84, 0.47),
        ellipse("dark", 0.23, 0.07, 0.47, 0.31),
        ellipse("dark", 0.53, 0.07, 0.77, 0.31),
        ellipse("dark", 0.23, 0.37, 0.47, 0.61),
        ellipse("dark", 0.53, 0.37, 0.77, 0.61),
        ellipse("white", 0.36, 0.20, 0.64, 0.48),
        ellipse("beak", 0.40, 0.24, 0.60, 0.44),
    ),
    "mushroom": (
        box("skin", 0.34, 0.46, 0.66, 0.96, radius=0.12),
        ellipse("ink", 0.41, 0.62, 0.46, 0.69),
        ellipse("ink", 0.54, 0.62, 0.59, 0.69),
        arc("ink", 0.43, 0.66, 0.57, 0.78, start=20, end=160, width=0.02),
        pie("tint", 0.04, 0.06, 0.96, 1.04, start=180, end=360),
        ellipse("white", 0.38, 0.12, 0.60, 0.32),
        ellipse("white", 0.14, 0.32, 0.32, 0.48),
        ellipse("white", 0.68, 0.30, 0.86, 0.47),
    ),
    "house": (
        box("dark", 0.68, 0.08, 0.80, 0.36),
        box("tint", 0.12, 0.44, 0.88, 0.96),
        polygon("dark", 0.50, 0.04, 1.00, 0.48, 0.00, 0.48),
        box("wood", 0.42, 0.64, 0.58, 0.96, radius=0.03),
        ellipse("beak", 0.53, 0.79, 0.57, 0.83),
        box("glass", 0.19, 0.56, 0.35, 0.74),
        box("glass", 0.65, 0.56, 0.81, 0.74),
        line("white", 0.27, 0.56, 0.27, 0.74, width=0.02),
        line("white", 0.73, 0.56, 0.73, 0.74, width=0.02),
        ellipse("glass", 0.43, 0.24, 0.57, 0.38),
    ),
    "apple": (
        ellipse("tint", 0.08, 0.24, 0.60, 0.92),
        ellipse("tint", 0.40, 0.24, 0.92, 0.92),
        ellipse("tint", 0.24, 0.34, 0.76, 0.97),
        ellipse("light", 0.19, 0.36, 0.33, 0.56),
        line("wood", 0.50, 0.36, 0.52, 0.20, 0.58, 0.07, width=0.05),
        polygon("leaf", 0.56, 0.20, 0.66, 0.08, 0.86, 0.05, 0.78, 0.19, 0.66, 0.24),
    ),
    "cup": (
        arc("tint", 0.56, 0.40, 0.98, 0.78, start=260, end=110, width=0.09),
        polygon("tint", 0.10, 0.34, 0.76, 0.34, 0.68, 0.94, 0.18, 0.94),
        ellipse("dark", 0.10, 0.26, 0.76, 0.42),
        ellipse("wood", 0.15, 0.29, 0.71, 0.40),
        box("light", 0.14, 0.56, 0.72, 0.66),
        arc("metal", 0.24, 0.02, 0.36, 0.22, start=90, end=270, width=0.03),
        arc("metal", 0.46, 0.02, 0.58, 0.22, start=270, end=90, width=0.03),
    ),
    "ball": (
        ellipse("tint", 0.04, 0.04, 0.96, 0.96),
        pie("white", 0.04, 0.04, 0.96, 0.96, start=0, end=60),
        pie("white", 0.04, 0.04, 0.96, 0.96, start=120, end=180),
        pie("white", 0.04, 0.04, 0.96, 0.96, start=240, end=300),
        ellipse("dark", 0.40, 0.40, 0.60, 0.60),
    ),
    "star": (
        polygon(
            "tint",
            *(0.50, 0.01, 0.63, 0.34, 0.99, 0.37, 0.71, 0.60, 0.81, 0.96),
            *(0.50, 0.76, 0.19, 0.96, 0.29, 0.60, 0.01, 0.37, 0.37, 0.34),
        ),
        polygon("light", 0.50, 0.01, 0.63, 0.34, 0.50, 0.50, 0.37, 0.34),
        ellipse("ink", 0.38, 0.44, 0.45, 0.53),
        ellipse("ink", 0.55, 0.44, 0.62, 0.53),
        arc("ink", 0.41, 0.48, 0.59, 0.64, start=20, end=160, width=0.03),
    ),
    "umbrella": (
        line("wood", 0.50, 0.08, 0.50, 0.86, width=0.05),
        arc("wood", 0.48, 0.74, 0.72, 0.97, start=0, end=180, width=0.05),
        pie("tint", 0.02, 0.08, 0.98, 1.00, start=180, end=360),
        pie("light", 0.32, 0.08, 0.68, 1.00, start=180, end=360),
        pie("white", 0.02, 0.47, 0.34, 0.61, start=180, end=360),
        pie("white", 0.34, 0.47, 0.66, 0.61, start=180, end=360),
        pie("white", 0.66, 0.47, 0.98, 0.61, start=180, end=360),
        line("ink", 0.50, 0.01, 0.50, 0.09, width=0.04),
    ),
    "hat": (
        ellipse("dark", 0.00, 0.66, 1.00, 0.92),
        ellipse("tint", 0.00, 0.62, 1.00, 0.86),
        box("tint", 0.24, 0.10, 0.76, 0.78, radius=0.12),
        box("ink", 0.24, 0.54, 0.76, 0.68),
        box("beak", 0.44, 0.53, 0.56, 0.69),
        ellipse("light", 0.30, 0.14, 0.40, 0.28),
    ),
}


def blend(colour: Rgb, other: Rgb, share: float) -> Rgb:
    """A colour mixed with a share of another."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
