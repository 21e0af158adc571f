"""What match probabilities are worth on postcards, where the truth is known: the calibrated ones against the softmax.

A gallery is calibrated on 400 of its own pairs, each way. Then other texts are asked, each of the gallery as it is and
without what is right: fullest captions like those of the pairs, and short texts such as a person types. What is right
says the scene, not the pairs. Run: .venv/bin/python benchmarks/calibration.py
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from api import Sightline
from api.settings import Settings
from retrieval.evaluation.calibrating import PLACES
from retrieval.evaluation.measures import calibration_error
from retrieval.training.world.captions import fullest_claim, some_claim
from retrieval.training.world.claims import Claim, claim_text, holds, requirements, shown
from retrieval.training.world.galleries import gallery_scenes, write_gallery
from retrieval.training.world.scenes import Scene
from retrieval.types import Hit

MODELS = ("postcards", "postcards-blip2", "postcards-albef")
SCENES = 1000
SEED = 77
FITTED = 400
ASKED = 200
CANDIDATES = 32

Page = list[tuple[float, bool]]
"""Hits in order: match probability, and whether the scene says that it is right."""


def main() -> None:
    """Print a line per model and kind of text."""
    scenes = gallery_scenes(SCENES, seed=SEED)
    draw = random.Random(SEED)
    claims = {
        "fullest captions": [fullest_claim(scene) for scene in draw.sample(scenes, ASKED)],
        "short texts": [some_claim(scene, draw) for scene in draw.sample(scenes, ASKED)],
    }
    print(f"{SCENES} postcards, fitted on {FITTED} queries each way, {ASKED} texts asked, {CANDIDATES} candidates")
    print("expected calibration error over hits and over first hits; ratio: softmax / calibrated, first hits")
    print(f"{'model':16} {'asked by':17} {'calibrated':>17} {'softmax':>17} {'ratio':>6}")
    with TemporaryDirectory() as folder:
        write_gallery(Path(folder) / "cards", scenes=SCENES, seed=SEED)
        for model in MODELS:
            measure(Path(folder), model, scenes, claims)


def measure(folder: Path, model: str, scenes: Sequence[Scene], claims: dict[str, list[Claim]]) -> None:
    """Ask a model's gallery before and after it is calibrated."""
    library = Sightline(settings=Settings(home=folder / model, offline=True), say=lambda line: None)
    library.index(folder / "cards", gallery="cards", model=model)
    before = {kind: errors(library, scenes, some) for kind, some in claims.items()}
    library.calibrate("cards", queries=FITTED)
    after = {kind: errors(library, scenes, some) for kind, some in claims.items()}
    library.close()
    for kind in claims:
        said = [f"{hits:.4f} / {first:.4f}" for hits, first in (after[kind], before[kind])]
        print(f"{model:16} {kind:17} {said[0]:>17} {said[1]:>17} {before[kind][1] / after[kind][1]:6.2f}", flush=True)


def errors(library: Sightline, scenes: Sequence[Scene], claims: Sequence[Claim]) -> tuple[float, float]:
    """Expected calibration errors over all hits and over the first hits, each claim asked twice."""
    pages: list[Page] = []
    for claim in claims:
        found = library.search("cards", claim_text(claim), k=CANDIDATES, candidates=CANDIDATES)
        page = [(hit.match_probability or 0.0, is_right(hit, claim, scenes)) for hit in found]
        pages += [page[:PLACES], [one for one in page if not one[1]][:PLACES]]
    return error([one for page in pages for one in page]), error([page[0] for page in pages if page])


def error(hits: Page) -> float:
    """Expected calibration error of some hits."""
    return calibration_error(np.array([p for p, _ in hits]), np.array([float(right) for _, right in hits]))


def is_right(hit: Hit, claim: Claim, scenes: Sequence[Scene]) -> bool:
    """Say whether a claim holds of the scene that a hit shows."""
    scene = scenes[int(hit.uri.rpartition("-")[2].removesuffix(".png")) - 1]
    return requirements(claim) <= shown(scene) and holds(claim, scene)


if __name__ == "__main__":
    main()
