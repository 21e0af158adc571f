"""The training of the bundled models: see, match, caption, vqa, in a folder that the same call goes on with."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from retrieval.models.weights import digest
from retrieval.training.blip import Models, Size, fresh_models, inherit_matcher, inherit_start, save_models
from retrieval.training.pretraining.batches import Batches
from retrieval.training.pretraining.phases import AnswerPhase, CaptionPhase, MatchPhase, SeePhase, Sight
from retrieval.training.stretches import Pace, Plan, Run, Stretch
from retrieval.training.world.render import draw_ahead
from retrieval.training.world.vocabulary import Words, vocabulary, words

PHASES = ("see", "match", "caption", "vqa")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes. Batches, steps and rates are those of see, match, caption, vqa.

    `itc_alone` is the share of the match phase before ITM joins in; `half` computes in bfloat16.
    """

    seed: int = 1
    batches: tuple[int, int, int, int] = (128, 64, 64, 64)
    steps: tuple[int, int, int, int] = (3000, 6000, 2000, 3000)
    rates: tuple[float, float, float, float] = (1.5e-3, 8e-4, 8e-4, 8e-4)
    itc_alone: float = 0.0
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    half: bool = False
    save_every: int = 200
    size: Size = field(default_factory=Size)


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: torch.device,
    minutes: float | None = None,
    start: Path | None = None,
    workers: int = 1,
) -> bool:
    """Train, or go on with training, in the folder `out`: whether every phase is done.

    A new run begins with random weights, or with the matcher of an earlier one in the folder `start`. `models/` holds
    the folders of the models, written when every phase is done or `minutes` are over; what else is there: see Run.
    """
    tokens = vocabulary(words())
    models = fresh_models(recipe.size, tokens, seed=recipe.seed)
    if start is not None:
        inherit_start(models.itm, start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        sight = Sight(recipe.size.width)
    draw_ahead(recipe.size.resolution)
    pace = Pace.of(recipe, workers=workers, start=None if start is None else digest(start / "itm"))
    plans = [_plan(number, recipe, models, sight) for number in range(len(PHASES))]
    run = Run(plans, {**models.by_name(), "sight": sight}, out, device, pace)
    done = run.finish(math.inf if minutes is None else time.monotonic() + 60 * minutes)
    save_models(models, out / "models")
    return done


def _plan(number: int, recipe: Recipe, models: Models, sight: Sight) -> Plan:
    name = PHASES[number]
    tokens = Words(models.tokens, torch.device("cpu"))
    batches = Batches(name, tokens, seed=recipe.seed, size=recipe.batches[number], resolution=recipe.size.resolution)

    def make() -> Stretch:
        return _phase(name, recipe, models, sight, enc=tokens["[ENC]"])

    def inherit() -> None:
        if name in ("caption", "vqa"):
            inherit_matcher(models.by_name()[name], models.itm)

    return Plan(name, recipe.steps[number], recipe.rates[number], make, batches.draw, inherit)


def _phase(name: str, recipe: Recipe, models: Models, sight: Sight, *, enc: int) -> Stretch:
    dtype = torch.bfloat16 if recipe.half else torch.float32
    match name:
        case "see":
            return SeePhase(models.itm, sight, dtype)
        case "match":
            matching_from = round(recipe.itc_alone * recipe.steps[PHASES.index(name)])
            return MatchPhase(models.itm, sight, dtype, enc=enc, seed=recipe.seed, matching_from=matching_from)
        case "caption":
            return CaptionPhase(models.caption, dtype)
        case _:
            return AnswerPhase(models.vqa, dtype)
