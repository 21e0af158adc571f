"""The command that trains a small model on a shipped vision tower, in the world of postcards, and measures it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from retrieval.errors import RetrievalError
from retrieval.models import hub
from retrieval.training.quality import Measured, measure, write_quality
from retrieval.training.world.render import draw_ahead
from retrieval.training.world.vocabulary import vocabulary, words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Course:
    """What is trained: a recipe (a frozen dataclass with seed, steps and half), its lessons and its training.

    `train` is called as `train_albef` is; `steps` reads the number of steps from the command line.
    """

    name: str
    about: str
    model: str
    recipe: Any
    lessons: Callable[..., Any]
    train: Callable[..., bool]
    steps: Callable[[str], Any]


def run_course(course: Course, arguments: Sequence[str] | None = None) -> None:
    """Train on the tower of a folder; when every step is done, measure the model on held-out postcards."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given = _parse(course, arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    stated = {name: value for name in ("seed", "steps", "half") if (value := getattr(given, name)) is not None}
    try:
        done = _train(course, replace(course.recipe, **stated), given)
    except RetrievalError as error:
        raise SystemExit(f"{course.name}: {error}") from None
    if not done:
        log.info("time is over: the same command goes on")
        return
    folder = given.models or given.out / "models"
    quality = measure(Measured.open(folder))
    write_quality(quality, folder / "quality.json")
    log.info("%s", quality)


def _train(course: Course, recipe: Any, given: argparse.Namespace) -> bool:
    side = hub.read_config(given.tower / "itm")["vision_config"]["image_size"]
    draw_ahead(side)
    name = given.device if given.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return course.train(
        recipe,
        given.tower,
        given.out,
        lessons=course.lessons(seed=recipe.seed, resolution=side),
        tokens=vocabulary(words()),
        device=torch.device(name),
        minutes=given.minutes,
        workers=given.workers,
        models=given.models,
    )


def _parse(course: Course, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m retrieval.training.{course.name}", description=course.about)
    parser.add_argument("--tower", type=Path, required=True, help="models of the parent: itm/ and tower/")
    parser.add_argument("--out", type=Path, default=Path("build") / course.model, help="checkpoint, log and models")
    parser.add_argument("--models", type=Path, help="where the models shall stay; OUT/models unless given")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command goes on")
    parser.add_argument("--steps", type=course.steps, help=f"steps of training: {course.recipe.steps}")
    parser.add_argument("--seed", type=int, help="of weights, scenes and texts")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the batches")
    parser.add_argument("--half", action="store_true", default=None, help="compute in bfloat16")
    return parser.parse_args(arguments)
