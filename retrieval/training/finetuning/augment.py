"""Augmentation as ALBEF and BLIP fine-tune with: a random crop, a mirrored picture, two of ten small changes.

Li et al. 2022 (BLIP), section 4.1 and the authors' code: crops of at least half the area, RandAugment (Cubuk et al.
2020) with two operations of magnitude 5 of 10, each done half the time, without changes of colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import ImageEnhance, ImageOps
from PIL.Image import Image, Resampling, Transform

from retrieval.types import UInt8

LEAST_AREA = 0.5
RATIOS = (3 / 4, 4 / 3)
TRIES = 10
OPERATIONS = 2
MAGNITUDE = 0.5
GREY = (128, 128, 128)

# At full magnitude: a shear of 0.3, 30 degrees, 10 pixels of 384, and enhancement by 1.9. Half of that leaves
# brightness and sharpness at 1.0, which changes nothing: so it is in the authors' code.
SHEAR, DEGREES, SHIFT = 0.3 * MAGNITUDE, 30 * MAGNITUDE, 10 / 384 * MAGNITUDE
ENHANCEMENT = 1.8 * MAGNITUDE + 0.1

Change = Callable[[Image, int], Image]


def augmented(image: Image, size: int, rng: Random, *, may_mirror: bool) -> UInt8:
    """A random view of an RGB picture, `uint8 [size, size, 3]`; where sides matter it is not mirrored."""
    view = image.resize((size, size), Resampling.BICUBIC, box=crop_box(image.size, rng))
    if rng.random() < 0.5 and may_mirror:
        view = ImageOps.mirror(view)
    for change in rng.choices(CHANGES, k=OPERATIONS):
        sign = rng.choice((-1, 1))
        if rng.random() < 0.5:
            view = change(view, sign)
    return np.array(view, dtype=np.uint8)


def crop_box(size: tuple[int, int], rng: Random) -> tuple[int, int, int, int]:
    """A box of at least half the area and of a ratio near the square's; the whole picture where none fits."""
    width, height = size
    for _ in range(TRIES):
        area = rng.uniform(LEAST_AREA, 1.0) * width * height
        ratio = math.exp(rng.uniform(math.log(RATIOS[0]), math.log(RATIOS[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = rng.randint(0, width - wide), rng.randint(0, height - high)
            return left, top, left + wide, top + high
    return 0, 0, width, height


def _affine(image: Image, matrix: tuple[float, float, float, float, float, float]) -> Image:
    return image.transform(image.size, Transform.AFFINE, matrix, Resampling.BILINEAR, fillcolor=GREY)


def _shear_x(image: Image, sign: int) -> Image:
    return _affine(image, (1, sign * SHEAR, 0, 0, 1, 0))


def _shear_y(image: Image, sign: int) -> Image:
    return _affine(image, (1, 0, 0, sign * SHEAR, 1, 0))


def _shift_x(image: Image, sign: int) -> Image:
    return _affine(image, (1, 0, sign * SHIFT * image.width, 0, 1, 0))


def _shift_y(image: Image, sign: int) -> Image:
    return _affine(image, (1, 0, 0, 0, 1, sign * SHIFT * image.height))


def _rotate(image: Image, sign: int) -> Image:
    return image.rotate(sign * DEGREES, Resampling.BILINEAR, fillcolor=GREY)


def _brightness(image: Image, _: int) -> Image:
    return ImageEnhance.Brightness(image).enhance(ENHANCEMENT)


def _sharpness(image: Image, _: int) -> Image:
    return ImageEnhance.Sharpness(image).enhance(ENHANCEMENT)


CHANGES: tuple[Change, ...] = (
    lambda image, _: image,
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _shift_x,
    _shift_y,
    _rotate,
)
