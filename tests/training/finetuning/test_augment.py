from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from PIL import Image

from retrieval.training.finetuning.augment import CHANGES, augmented, crop_box

LEFT_IS_WHITE = Image.fromarray(np.repeat(np.repeat([[[255] * 3, [0] * 3]], 64, axis=0), 32, axis=1).astype(np.uint8))


def test_a_view_has_the_model_s_size_and_follows_from_the_seed() -> None:
    one, same, other = (augmented(LEFT_IS_WHITE, 24, Random(seed), may_mirror=True) for seed in (1, 1, 2))
    assert one.shape == (24, 24, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_crop_keeps_half_the_area_and_lies_in_the_picture() -> None:
    for seed in range(200):
        left, top, right, bottom = crop_box((80, 60), Random(seed))
        assert 0 <= left < right <= 80
        assert 0 <= top < bottom <= 60
        assert (right - left) * (bottom - top) >= 0.48 * 80 * 60


def test_a_picture_that_no_crop_fits_is_kept_whole() -> None:
    assert crop_box((400, 4), Random(1)) == (0, 0, 400, 4)


def test_about_half_of_the_views_are_mirrored_unless_sides_matter() -> None:
    def is_mirrored(seed: int, *, may_mirror: bool) -> bool:
        view = augmented(LEFT_IS_WHITE, 32, Random(seed), may_mirror=may_mirror).mean(axis=(0, 2))
        return bool(view[:8].mean() < view[-8:].mean())

    assert sum(is_mirrored(seed, may_mirror=True) for seed in range(200)) == pytest.approx(100, abs=35)
    assert not any(is_mirrored(seed, may_mirror=False) for seed in range(200))


def test_changes_are_of_half_the_authors_magnitude() -> None:
    # Of 384 pixels: a shift by 5, a shear by 0.15 a row, a turn by 15 degrees; nothing of brightness and sharpness.
    white = Image.new("RGB", (384, 384), "white")
    still, shifted, sheared, turned = (np.array(CHANGES[number](white, 1)) == 255 for number in (3, 7, 5, 9))
    assert still.all()
    assert shifted.all(axis=(0, 2)).sum() == pytest.approx(384 - 5, abs=1)
    assert sheared[-2].all(axis=1).sum() == pytest.approx(384 - 0.15 * 383, abs=2)
    # A square and the same turned by t have 2 / (1 + sin t + cos t) of it in common.
    turn = math.radians(15)
    assert turned.all(axis=2).mean() == pytest.approx(2 / (1 + math.sin(turn) + math.cos(turn)), abs=0.005)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_every_change_keeps_size_and_mode(change: object, sign: int) -> None:
    changed = change(LEFT_IS_WHITE, sign)  # type: ignore[operator]
    assert (changed.size, changed.mode) == (LEFT_IS_WHITE.size, "RGB")
