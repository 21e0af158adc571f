"""Draws scenes as pictures, and saves them with a mark in the file."""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo

from retrieval.training.world.backdrops import PLACES, TIMES, WEATHERS, backdrop
from retrieval.training.world.letters import SIGN_WORDS, word_marks
from retrieval.training.world.marks import PAINTS, TINTS, Mark, Rgb, blend
from retrieval.training.world.nouns import NOUNS, SIGN
from retrieval.training.world.scenes import BIG, GROUP, MOST, SMALL, VARIANTS, Scene, centres

SIZE = 288
MARK_KEY = "Sightline"
MARK_TEXT = "rendered postcard"

_SHARPNESS = 4  # stickers are drawn this much larger and shrunk: smooth edges
_RIM = 0.011  # the pale rim of a sticker, in pictures
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"

# Where the things of a group stand in their square, and how big they are: left, top, side.
_GROUPS: dict[int, tuple[tuple[float, float, float], ...]] = {
    1: ((0.0, 0.0, 1.0),),
    2: ((0.0, 0.04, 0.58), (0.42, 0.38, 0.58)),
    3: ((0.24, 0.0, 0.52), (0.0, 0.48, 0.52), (0.48, 0.48, 0.52)),
    4: ((0.0, 0.0, 0.5), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5), (0.5, 0.5, 0.5)),
    5: ((0.0, 0.0, 0.42), (0.58, 0.0, 0.42), (0.29, 0.29, 0.42), (0.0, 0.58, 0.42), (0.58, 0.58, 0.42)),
}


def render(scene: Scene, size: int = SIZE) -> Image.Image:
    """Draw a scene: an RGB picture of `size` pixels each way, the same for the same scene."""
    picture = backdrop(scene.place, scene.time, scene.weather, scene.variant, size).copy()
    behind = {link.subject for link in scene.links if link.kind == "behind"}
    for at in sorted(range(len(scene.things)), key=lambda at: at not in behind):
        thing, (x, y) = scene.things[at], centres(scene)[at]
        sticker = _sticker(thing.noun, thing.tint, thing.count, thing.facing, thing.word, thing.side, size)
        picture.paste(sticker, (round(x * size - sticker.width / 2), round(y * size - sticker.height / 2)), sticker)
    return picture


def save_postcard(scene: Scene, path: Path) -> None:
    """Draw a scene into a PNG whose text says that it was rendered."""
    info = PngInfo()
    info.add_text(MARK_KEY, MARK_TEXT)
    render(scene).save(path, format="PNG", pnginfo=info)


def is_rendered(file: BinaryIO) -> bool:
    """Whether an open file is a PNG that `save_postcard` wrote: reads the chunks before the pixels and never raises."""
    try:
        if file.read(8) != _PNG_HEAD:
            return False
        while True:
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind in (b"IDAT", b"IEND") or length > 65536:
                return False
            body = file.read(length + 4)[:-4]
            if kind == b"tEXt" and body == f"{MARK_KEY}\0{MARK_TEXT}".encode():
                return True
    except (OSError, ValueError, struct.error):
        return False


def draw_ahead(size: int) -> None:
    """Draw every sticker and backdrop of a size, so that processes forked afterwards have them."""
    for noun, tint, word in (
        *((name, tint, "") for name in NOUNS if name != SIGN for tint in (TINTS if NOUNS[name].tinted else ("",))),
        *((SIGN, "", word) for word in SIGN_WORDS),
    ):
        for facing in ("left", "right") if NOUNS[noun].faces else ("",):
            for count, side in ((1, SMALL), (1, BIG), *((count, GROUP) for count in range(2, MOST + 1))):
                if noun != SIGN or (count, side) == (1, BIG):
                    _sticker(noun, tint, count, facing, word, side, size)
    for place, time, weather, variant in product(PLACES, TIMES, WEATHERS, range(VARIANTS)):
        backdrop(place, time, weather, variant, size)


@lru_cache(maxsize=32768)
def _sticker(noun: str, tint: str, count: int, facing: str, word: str, side: float, size: int) -> Image.Image:
    """A thing or a group with a pale rim: RGBA, `side` of a picture of `size` pixels wide, and the rim around it."""
    inner, rim = round(side * size), max(1, round(_RIM * size))
    drawn = Image.new("RGBA", ((inner + 2 * rim) * _SHARPNESS,) * 2)
    for left, top, share in _GROUPS[count]:
        one = _drawing(noun, tint, facing, word, round(inner * share) * _SHARPNESS)
        corner = tuple(round(inner * offset * _SHARPNESS) + rim * _SHARPNESS for offset in (left, top))
        drawn.alpha_composite(one, corner)
    sticker = Image.new("RGBA", drawn.size, (*PAINTS["white"], 255))
    shape = _grown(drawn.getchannel("A"), max(1, round((rim - 0.5) * _SHARPNESS)))
    sticker.putalpha(shape.filter(ImageFilter.GaussianBlur(2)))
    sticker.alpha_composite(drawn)
    return sticker.resize((inner + 2 * rim,) * 2, Image.Resampling.LANCZOS)


def _drawing(noun: str, tint: str, facing: str, word: str, side: int) -> Image.Image:
    drawn = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(drawn)
    for mark in word_marks(word) if noun == SIGN else NOUNS[noun].marks:
        _draw_mark(pen, mark, _paint(mark.paint, tint), side)
    return drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if facing == "left" else drawn


def _grown(shape: Image.Image, by: int) -> Image.Image:
    """A shape grown by a square brush: what Pillow's MaxFilter gives, axis by axis and five times as fast."""
    grown = np.asarray(shape)
    for _ in range(2):
        padded = np.pad(grown, ((by, by), (0, 0)))
        grown = np.maximum.reduce([padded[shift : shift + len(grown)] for shift in range(2 * by + 1)]).T
    return Image.fromarray(np.ascontiguousarray(grown))


def _draw_mark(pen: ImageDraw.ImageDraw, mark: Mark, colour: Rgb, scale: int) -> None:
    points = [value * scale for value in mark.points]
    width = max(1, round(mark.width * scale))
    match mark.kind:
        case "ellipse":
            pen.ellipse(points, fill=colour)
        case "polygon":
            pen.polygon(points, fill=colour)
        case "box":
            pen.rounded_rectangle(points, radius=mark.width * scale, fill=colour)
        case "pie":
            pen.pieslice(points, *mark.angles, fill=colour)
        case "arc":
            pen.arc(points, *mark.angles, fill=colour, width=width)
        case "line":
            pen.line(points, fill=colour, width=width, joint="curve")


def _paint(paint: str, tint: str) -> Rgb:
    if paint in PAINTS:
        return PAINTS[paint]
    colour = TINTS[tint]
    return {
        "tint": colour,
        "dark": blend(colour, (20, 16, 40), 0.28),
        "light": blend(colour, (255, 255, 255), 0.45),
    }[paint]
