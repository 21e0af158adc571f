"""Batches of scenes: their pixels, what lies under each patch, and which captions are true of which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from retrieval.training.blip import DEVIATION, MEAN
from retrieval.training.claims import Claim, holds, requirements
from retrieval.training.nouns import NOUNS, TINTS
from retrieval.training.postcards import render
from retrieval.training.scenes import Scene

_NOUN_NUMBERS = {noun: number for number, noun in enumerate(NOUNS, start=1)}
_TINT_NUMBERS = {tint: number for number, tint in enumerate(TINTS, start=1)}


def pixels_of(scenes: Sequence[Scene], resolution: int) -> Tensor:
    """Draw scenes as the models see them, resized as an item's picture is: `float32 [n, 3, R, R]`."""
    size = (resolution, resolution)
    pictures = [np.asarray(render(scene).resize(size, Image.Resampling.BICUBIC)) for scene in scenes]
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return (stacked - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def patch_labels(scenes: Sequence[Scene], grid: int) -> tuple[Tensor, Tensor]:
    """What lies under each patch: numbers of nouns and of tints, both `int64 [n, grid * grid]`, 0 for nothing."""
    nouns = np.zeros((len(scenes), grid, grid), dtype=np.int64)
    tints = np.zeros_like(nouns)
    for number, scene in enumerate(scenes):
        for thing in scene.things:
            (left, right), (top, bottom) = (_patches(middle, thing.scale, grid) for middle in thing.centre)
            nouns[number, top:bottom, left:right] = _NOUN_NUMBERS[thing.noun]
            tints[number, top:bottom, left:right] = _TINT_NUMBERS[thing.tint]
    return torch.from_numpy(nouns).flatten(1), torch.from_numpy(tints).flatten(1)


def truths(claims: Sequence[Claim], scenes: Sequence[Scene]) -> Tensor:
    """`bool [n, m]`: whether claim j is true of scene i."""
    needed = [requirements(claim) for claim in claims]
    shown = [{scene.place, *(word for thing in scene.things for word in (thing.noun, thing.tint))} for scene in scenes]
    return torch.tensor(
        [
            [words <= there and holds(claim, scene) for claim, words in zip(claims, needed, strict=True)]
            for scene, there in zip(scenes, shown, strict=True)
        ]
    )


def _patches(middle: float, extent: float, grid: int) -> tuple[int, int]:
    """The patches whose centres lie within an extent around a point, along one axis: first and end."""
    first, end = (round((middle + side * extent / 2) * grid) for side in (-1, 1))
    return max(0, first), min(grid, end)
