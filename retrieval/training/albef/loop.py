"""The training of a bundled ALBEF: one stretch, a log of losses, checkpoints that the same call continues from."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from retrieval.models.weights import digest
from retrieval.training.albef.matching import MatchingStretch
from retrieval.training.albef.models import AlbefSize, fresh_albef, save_albef
from retrieval.training.captioned import CaptionLessons
from retrieval.training.stretches import Pace, Plan, Run, stated
from retrieval.training.tower import Tower


@dataclass(frozen=True)
class AlbefRecipe:
    """Everything that decides what a run computes, with its lessons; `half` lets layers compute in bfloat16."""

    seed: int = 1
    steps: int = 5400
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    clip: float = 1.0
    half: bool = False
    save_every: int = 200
    size: AlbefSize = field(default_factory=AlbefSize)


def train_albef(
    recipe: AlbefRecipe,
    tower: Path,
    out: Path,
    *,
    lessons: CaptionLessons,
    tokens: Sequence[str],
    device: torch.device,
    minutes: float | None = None,
    workers: int = 0,
    models: Path | None = None,
) -> bool:
    """Train, or go on with training, in the folder `out`: whether every step is done.

    `tower` is a folder of models as `save_models` writes it, `tokens` the WordPiece list of the world that `lessons`
    speak of. The folder itm is written when every step is done or `minutes` are over, into `models`, else into
    `out/models`: it names the tower's file by the way there, so it has to be written where it shall stay. `workers`
    processes draw the batches; what else is in `out`: see Run.
    """
    opened = Tower.open(tower)
    albef = fresh_albef(opened, recipe.size, tokens, seed=recipe.seed)
    dtype = torch.bfloat16 if recipe.half else torch.float32
    plan = Plan(
        "matching",
        recipe.steps,
        recipe.rate,
        lambda: MatchingStretch(albef, dtype, hints=lessons.hints, seed=recipe.seed),
        lessons.captioned,
    )
    pace = Pace.of(recipe, workers=workers, tower=digest(tower / "tower"), lessons=stated(lessons))
    run = Run([plan], {"itm": albef.network}, out, device, pace)
    done = run.finish(math.inf if minutes is None else time.monotonic() + 60 * minutes)
    save_albef(albef, models or out / "models", tower=opened.file)
    return done
