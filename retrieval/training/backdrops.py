"""The places behind the things of a postcard."""

from __future__ import annotations

import random
from functools import lru_cache

from PIL import Image, ImageDraw

from retrieval.training.nouns import Rgb, blend


@lru_cache(maxsize=64)
def backdrop(place: str, variant: int, size: int) -> Image.Image:
    """A place without things; variants differ in where hills, clouds and stars are."""
    rng = random.Random(f"{place} {variant}")
    side = 2 * size  # shrunk afterwards: smooth edges
    picture = Image.new("RGB", (side, side))
    pen = ImageDraw.Draw(picture)
    _BACKDROPS[place](pen, side, rng)
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def _sky(pen: ImageDraw.ImageDraw, side: int, top: Rgb, bottom: Rgb) -> None:
    for y in range(side):
        pen.line((0, y, side, y), fill=blend(top, bottom, y / side))


def _cloud(pen: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: Rgb) -> None:
    for dx, dy, r in ((-0.9, 0.15, 0.5), (0.0, -0.1, 0.75), (0.9, 0.15, 0.55)):
        pen.ellipse(
            (x + (dx - r) * size, y + (dy - r) * size, x + (dx + r) * size, y + (dy + r * 0.7) * size), fill=colour
        )


def _hill(pen: ImageDraw.ImageDraw, side: int, x: float, top: float, width: float, colour: Rgb) -> None:
    pen.ellipse(((x - width) * side, top * side, (x + width) * side, (top + 1.6) * side), fill=colour)


def _paper(pen: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    shade = rng.choice(((247, 242, 230), (240, 240, 236), (250, 244, 238), (244, 246, 248)))
    pen.rectangle((0, 0, side, side), fill=shade)


def _beach(pen: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    _sky(pen, side, (150, 214, 244), (226, 246, 252))
    x = rng.uniform(0.15, 0.85) * side
    pen.ellipse((x - 44, 30, x + 44, 118), fill=(255, 240, 170))
    pen.rectangle((0, 0.40 * side, side, 0.60 * side), fill=(70, 176, 200))
    _hill(pen, side, rng.uniform(0.2, 0.8), 0.55, 1.6, (160, 220, 226))
    _hill(pen, side, rng.uniform(0.2, 0.8), 0.58, 1.6, (240, 220, 168))


def _grass(pen: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    _sky(pen, side, (176, 222, 250), (236, 248, 252))
    _cloud(pen, rng.uniform(0.1, 0.9) * side, 0.14 * side, 44, (255, 255, 255))
    _hill(pen, side, rng.uniform(0.0, 0.4), 0.42, 0.8, (164, 214, 130))
    _hill(pen, side, rng.uniform(0.6, 1.0), 0.48, 0.9, (142, 202, 112))
    _hill(pen, side, 0.5, 0.62, 1.4, (122, 188, 96))
    for _ in range(24):
        x, y = rng.uniform(0, side), rng.uniform(0.72, 1.0) * side
        pen.line((x, y, x + rng.uniform(-6, 6), y - 16), fill=(98, 164, 78), width=4)


def _snow(pen: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    _sky(pen, side, (186, 206, 226), (222, 232, 242))
    _hill(pen, side, rng.uniform(0.0, 0.4), 0.44, 0.8, (232, 240, 248))
    _hill(pen, side, rng.uniform(0.6, 1.0), 0.50, 0.9, (242, 247, 252))
    _hill(pen, side, 0.5, 0.66, 1.4, (252, 253, 255))
    for _ in range(60):
        x, y, r = rng.uniform(0, side), rng.uniform(0, 0.7) * side, rng.uniform(3, 7)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))


def _night(pen: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    _sky(pen, side, (18, 22, 60), (52, 50, 104))
    for _ in range(50):
        x, y, r = rng.uniform(0, side), rng.uniform(0, 0.75) * side, rng.uniform(1.5, 4)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(240, 236, 200))
    x, y = rng.uniform(0.15, 0.85) * side, rng.uniform(0.08, 0.2) * side
    pen.ellipse((x - 36, y - 36, x + 36, y + 36), fill=(248, 240, 200))
    pen.ellipse((x - 16, y - 44, x + 48, y + 20), fill=(24, 27, 66))
    _hill(pen, side, rng.uniform(0.2, 0.8), 0.76, 1.0, (26, 30, 62))


def _street(pen: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    _sky(pen, side, (206, 222, 234), (240, 240, 236))
    x = 0.0
    while x < side:
        width, top = rng.uniform(60, 110), rng.uniform(0.12, 0.4) * side
        wall = rng.choice(((198, 188, 182), (184, 180, 190), (206, 196, 180), (176, 184, 190)))
        pen.rectangle((x, top, x + width - 6, 0.66 * side), fill=wall)
        for row in range(int(top) + 18, int(0.6 * side), 44):
            for column in range(int(x) + 12, int(x + width) - 26, 32):
                pen.rectangle((column, row, column + 14, row + 20), fill=(228, 232, 226))
        x += width
    pen.rectangle((0, 0.66 * side, side, 0.72 * side), fill=(206, 204, 200))
    pen.rectangle((0, 0.72 * side, side, side), fill=(104, 106, 114))
    start = rng.uniform(-80, 0)
    for step in range(8):
        pen.rectangle((start + step * 90, 0.85 * side, start + step * 90 + 50, 0.875 * side), fill=(236, 232, 214))


_BACKDROPS = {"paper": _paper, "beach": _beach, "grass": _grass, "snow": _snow, "night": _night, "street": _street}
