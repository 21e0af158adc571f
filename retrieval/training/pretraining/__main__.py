"""`python -m retrieval.training.pretraining` trains the bundled models; the same command goes on where it stopped."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from retrieval.errors import RetrievalError
from retrieval.training.pretraining.loop import Recipe, train
from retrieval.training.quality import Measured, measure, write_quality

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and when every phase is done measure the three models on held-out postcards."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    given = _parse(arguments)
    if os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive":
        log.info("on a CPU, OMP_WAIT_POLICY=passive leaves the process that draws batches its share")
    if given.threads:
        torch.set_num_threads(given.threads)
    stated = {
        name: value for name in ("seed", "steps", "itc_alone", "half") if (value := getattr(given, name)) is not None
    }
    device = _device(given.device)
    try:
        is_done = train(replace(Recipe(), **stated), given.out, device=device, minutes=given.minutes, start=given.start)
    except RetrievalError as error:
        raise SystemExit(f"pretraining: {error}") from None
    if not is_done:
        log.info("time is over: the same command goes on")
        return
    quality = measure(Measured.open(given.out / "models"))
    write_quality(quality, given.out / "models" / "quality.json")
    log.info("%s", quality)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m retrieval.training.pretraining", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/postcards"), help="checkpoint, log and models")
    parser.add_argument("--minutes", type=float, help="stop after this time; the same command goes on")
    parser.add_argument("--steps", type=_steps, help="steps of see, match, caption and vqa: 3000,6000,2000,3000")
    parser.add_argument("--seed", type=int, help="of weights, scenes and texts")
    parser.add_argument("--itc-alone", type=float, help="share of the match phase before ITM joins in")
    parser.add_argument("--start", type=Path, help="models of an earlier run to begin with")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--half", action="store_true", default=None, help="compute in bfloat16")
    return parser.parse_args(arguments)


def _steps(text: str) -> tuple[int, int, int, int]:
    see, match, caption, vqa = (int(part) for part in text.split(","))
    return see, match, caption, vqa


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


if __name__ == "__main__":
    main()
