"""The sibling's training: three stretches in order, a log of losses, checkpoints that the same call continues from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from retrieval.models.weights import digest
from retrieval.training.sibling.batches import Lessons
from retrieval.training.sibling.models import (
    Sibling,
    SiblingSize,
    count_weights,
    fresh_sibling,
    inherit_queries,
    save_sibling,
)
from retrieval.training.sibling.prefix import LanguageStretch, PrefixStretch
from retrieval.training.sibling.qformer import QFormerStretch
from retrieval.training.stretches import Pace, Plan, Run, stated
from retrieval.training.tower import Tower

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SiblingRecipe:
    """Everything that decides what a run computes, with its lessons. Steps and rates: qformer, language, prefix.

    `half` lets layers compute in bfloat16.
    """

    seed: int = 1
    steps: tuple[int, int, int] = (4500, 1500, 9000)
    rates: tuple[float, float, float] = (1e-3, 1e-3, 1e-3)
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    half: bool = False
    save_every: int = 200
    size: SiblingSize = field(default_factory=SiblingSize)


def train_sibling(
    recipe: SiblingRecipe,
    tower: Path,
    out: Path,
    *,
    lessons: Lessons,
    tokens: Sequence[str],
    device: torch.device,
    minutes: float | None = None,
    workers: int = 0,
    models: Path | None = None,
) -> bool:
    """Train, or go on with training, in the folder `out`: whether every stretch is done.

    `tower` is a folder of models as `save_models` writes it, `tokens` the WordPiece list of the world that `lessons`
    speak of. `checkpoint.pt` holds weights, optimiser, stretch and step; `losses.jsonl` the losses. The two folders are
    written when every stretch is done or `minutes` are over, into `models`, else into `out/models`: they name the
    tower's file by the way there, so they have to be written where they shall stay. `workers` processes draw the
    batches.
    """
    opened = Tower.open(tower)
    sibling = fresh_sibling(opened, recipe.size, tokens, seed=recipe.seed)
    log.info("weights beside the tower: %s", count_weights(sibling))
    pace = Pace.of(recipe, workers=workers, tower=digest(tower / "tower"), lessons=stated(lessons))
    run = Run(_plans(recipe, sibling, lessons), sibling.by_name(), out, device, pace)
    done = run.finish(math.inf if minutes is None else time.monotonic() + 60 * minutes)
    save_sibling(sibling, models or out / "models", tower=opened.file)
    return done


def _plans(recipe: SiblingRecipe, sibling: Sibling, lessons: Lessons) -> list[Plan]:
    (qformer, language, prefix), (first, second, third) = recipe.steps, recipe.rates
    dtype = torch.bfloat16 if recipe.half else torch.float32
    return [
        Plan(
            "qformer",
            qformer,
            first,
            lambda: QFormerStretch(sibling.itm, sibling.vocabulary, dtype, hints=lessons.hints, seed=recipe.seed),
            lessons.captioned,
        ),
        Plan(
            "language",
            language,
            second,
            lambda: LanguageStretch(sibling.llm, sibling.spelling, dtype),
            lessons.texts,
        ),
        Plan(
            "prefix",
            prefix,
            third,
            lambda: PrefixStretch(sibling.llm, sibling.spelling, dtype, hints=lessons.told_hints),
            lessons.told,
            inherit=lambda: inherit_queries(sibling.llm, sibling.itm),
        ),
    ]
