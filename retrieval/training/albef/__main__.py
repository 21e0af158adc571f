"""`python -m retrieval.training.albef` trains the ALBEF of a bundled model; the same command goes on."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from retrieval.errors import RetrievalError
from retrieval.models import hub
from retrieval.training.albef.lessons import DescribedPostcards
from retrieval.training.albef.loop import AlbefRecipe, train_albef
from retrieval.training.quality import Measured, measure, write_quality
from retrieval.training.world.render import draw_ahead
from retrieval.training.world.vocabulary import vocabulary, words

log = logging.getLogger(__name__)


def main_albef(arguments: Sequence[str] | None = None) -> None:
    """Train an ALBEF on the tower of a folder, in the world of postcards, and measure it on held-out ones."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given = _parse(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    stated = {name: value for name in ("seed", "steps", "half") if (value := getattr(given, name)) is not None}
    try:
        done = _train(replace(AlbefRecipe(), **stated), given)
    except RetrievalError as error:
        raise SystemExit(f"albef: {error}") from None
    if not done:
        log.info("time is over: the same command goes on")
        return
    folder = given.models or given.out / "models"
    quality = measure(Measured.open(folder))
    write_quality(quality, folder / "quality.json")
    log.info("%s", quality)


def _train(recipe: AlbefRecipe, given: argparse.Namespace) -> bool:
    side = hub.read_config(given.tower / "itm")["vision_config"]["image_size"]
    draw_ahead(side)
    name = given.device if given.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return train_albef(
        recipe,
        given.tower,
        given.out,
        lessons=DescribedPostcards(seed=recipe.seed, resolution=side),
        tokens=vocabulary(words()),
        device=torch.device(name),
        minutes=given.minutes,
        workers=given.workers,
        models=given.models,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m retrieval.training.albef", description=__doc__)
    parser.add_argument("--tower", type=Path, required=True, help="models of the parent: itm/ and tower/")
    parser.add_argument("--out", type=Path, default=Path("build/postcards-albef"), help="checkpoint, log and model")
    parser.add_argument("--models", type=Path, help="where the folder itm shall stay; OUT/models unless given")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command goes on")
    parser.add_argument("--steps", type=int, help="steps of training")
    parser.add_argument("--seed", type=int, help="of weights, scenes and texts")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the batches")
    parser.add_argument("--half", action="store_true", default=None, help="compute in bfloat16")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main_albef()
