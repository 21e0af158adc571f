"""The letters of the world's signs as strokes, the words that signs bear, and the drawing of a sign with its word."""

from __future__ import annotations

import math

from retrieval.training.world.marks import Mark, box, line

# Told apart by look at 32 pixels: no two differ in one letter only, and none is a word of the captions.
SIGN_WORDS: tuple[str, ...] = (
    "open", "sale", "stop", "zoo", "bank", "exit", "push", "free", "quiet", "menu",
    "help", "rodeo", "hello", "bye", "music", "dance", "party", "mail", "gym", "club",
    "film", "radio", "info", "ask", "enjoy", "smile", "gala", "dream", "peace", "love",
    "fun", "wow", "hurry", "wash", "vote", "quiz", "jazz", "visit", "relax", "local",
    "bingo", "disco", "lucky", "yoga", "spa", "expo", "judo", "truth", "extra", "pay",
)  # fmt: skip

Stroke = tuple[float, ...]

_BOARD = (0.0, 0.22, 1.0, 0.80)
_FRAME = 0.022
_FIELD = (0.06, 0.285, 0.935, 0.735)  # what the letters fill
_GAP = 0.30  # between letters, in letters
_STROKE = 0.25  # how thick, in letters
_THICKEST = 0.062


def word_marks(word: str) -> tuple[Mark, ...]:
    """The marks of a sign that bears a word of three to five letters: a framed board on a post, in the unit square.

    Raises KeyError for what is no letter from a to z.
    """
    left, top, right, bottom = _BOARD
    return (
        box("wood", 0.44, 0.76, 0.56, 0.97, radius=0.02),
        box("wood", *_BOARD, radius=0.07),
        box("white", left + _FRAME, top + _FRAME, right - _FRAME, bottom - _FRAME, radius=0.05),
        *_written(word.upper()),
    )


def _written(word: str) -> list[Mark]:
    """The strokes of a word, its letters as large as the field allows."""
    left, top, right, bottom = _FIELD
    widths = [_WIDTHS.get(letter, 1.0) for letter in word]
    unit = (right - left) / (sum(widths) + _GAP * (len(word) - 1))
    thick = min(_THICKEST, _STROKE * unit)
    marks: list[Mark] = []
    for letter, width in zip(word, widths, strict=True):
        corner = left + thick / 2, top + thick / 2
        extent = max(width * unit - thick, 0.0), bottom - top - thick
        marks += (line("ink", *_placed(stroke, corner, extent), width=thick) for stroke in _LETTERS[letter])
        left += (width + _GAP) * unit
    return marks


def _placed(stroke: Stroke, corner: tuple[float, float], extent: tuple[float, float]) -> Stroke:
    return tuple(corner[i % 2] + value * extent[i % 2] for i, value in enumerate(stroke))


def _bow(left: float, top: float, right: float, bottom: float, start: int, end: int) -> Stroke:
    """Points along an ellipse between two corners, degrees clockwise from three o'clock; backwards if end < start."""
    steps = max(2, abs(end - start) // 15)
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    x, y, rx, ry = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    return tuple(value for angle in angles for value in (x + rx * math.cos(angle), y + ry * math.sin(angle)))


# In a box one wide and one high, y down.
_LETTERS: dict[str, tuple[Stroke, ...]] = {
    "A": ((0, 1.04, 0.42, 0, 0.58, 0, 1, 1.04), (0.16, 0.68, 0.84, 0.68)),
    "B": (
        (0, 1.04, 0, 0, *_bow(0.2, 0, 0.92, 0.48, -90, 90), 0, 0.48),
        (0, 0.48, *_bow(0.2, 0.48, 1, 1, -90, 90), 0, 1),
    ),
    "C": (_bow(0, 0, 1, 1, 320, 40),),
    "D": ((0, 1.04, 0, 0, *_bow(0, 0, 1, 1, -90, 90), 0, 1),),
    "E": ((1, 0, 0, 0, 0, 1, 1, 1), (0, 0.49, 0.85, 0.49)),
    "F": ((1, 0, 0, 0, 0, 1.04), (0, 0.49, 0.85, 0.49)),
    "G": ((*_bow(0, 0, 1, 1, 320, 10), 1, 0.54, 0.55, 0.54),),
    "H": ((0, -0.04, 0, 1.04), (1, -0.04, 1, 1.04), (0, 0.49, 1, 0.49)),
    "I": ((0.5, -0.04, 0.5, 1.04),),
    "J": ((0.95, -0.04, *_bow(0, 0.4, 0.95, 1, 0, 180)),),
    "K": ((0, -0.04, 0, 1.04), (0.96, -0.04, 0.06, 0.52, 1, 1.04)),
    "L": ((0, -0.04, 0, 1, 1, 1),),
    "M": ((0, 1.04, 0, 0, 0.5, 0.66, 1, 0, 1, 1.04),),
    "N": ((0, 1.04, 0, 0, 1, 1, 1, -0.04),),
    "O": (_bow(0, 0, 1, 1, 0, 375),),
    "P": ((0, 1.04, 0, 0, *_bow(0.1, 0, 1, 0.56, -90, 90), 0, 0.56),),
    "Q": (_bow(0, 0, 1, 1, 0, 375), (0.55, 0.68, 1.05, 1.06)),
    "R": ((0, 1.04, 0, 0, *_bow(0.1, 0, 1, 0.54, -90, 90), 0, 0.54), (0.45, 0.54, 1, 1.04)),
    "S": ((*_bow(0, 0, 1, 0.49, 335, 90), *_bow(0, 0.49, 1, 1, 270, 515)),),
    "T": ((-0.02, 0, 1.02, 0), (0.5, 0, 0.5, 1.04)),
    "U": ((0, -0.04, *_bow(0, 0.4, 1, 1, 180, 0), 1, -0.04),),
    "V": ((0, -0.04, 0.46, 1, 0.54, 1, 1, -0.04),),
    "W": ((0, -0.04, 0.24, 1, 0.5, 0.3, 0.76, 1, 1, -0.04),),
    "X": ((0, -0.04, 1, 1.04), (1, -0.04, 0, 1.04)),
    "Y": ((0, -0.04, 0.5, 0.52, 1, -0.04), (0.5, 0.52, 0.5, 1.04)),
    "Z": ((0, 0, 1, 0, 0, 1, 1, 1),),
}
_WIDTHS = {"I": 0.4, "J": 0.85, "M": 1.3, "W": 1.4, "Q": 1.1, "E": 0.9, "F": 0.9, "L": 0.85}
