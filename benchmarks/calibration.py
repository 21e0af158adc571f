"""What match probabilities are worth on postcards, where the truth is known: the calibrated ones against the softmax.

A gallery is calibrated on 400 of its own pairs, each way. Then other texts are asked, each of the gallery as it is and
without what is right: fullest captions like those of the pairs, and short texts such as a person types. What is right
says the scene, not the pairs. Run: .venv/bin/python benchmarks/calibration.py
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from api import Sightline
from api.doors.thresholds import IMAGES
from api.settings import Settings
from retrieval.calibration import SOFTMAX, Curve, from_parameters
from retrieval.evaluation.calibrating import PLACES
from retrieval.evaluation.measures import calibration_error
from retrieval.training.world.captions import fullest_claim, some_claim
from retrieval.training.world.claims import Claim, claim_text, holds, requirements, shown
from retrieval.training.world.galleries import gallery_scenes, write_gallery
from retrieval.training.world.scenes import Scene
from retrieval.types import Hit
from storage import calibrations

MODELS = ("postcards", "postcards-blip2", "postcards-albef")
SCENES = 1000
SEED = 77
FITTED = 400
ASKED = 400
CANDIDATES = 32

Page = list[tuple[float, bool]]
"""Hits in order: the margin, and whether the scene says that it is right."""


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
    """Ask a model's gallery, and read the answers by the softmax and by the curve of its calibration."""
    library = Sightline(settings=Settings(home=folder / model, offline=True), say=lambda line: None)
    library.index(folder / "cards", gallery="cards", model=model)
    asked = {kind: [page for claim in some for page in pages(library, scenes, claim)] for kind, some in claims.items()}
    library.calibrate("cards", queries=FITTED)
    fitted = curve(library)
    library.close()
    for kind, found in asked.items():
        after, before = errors(found, fitted), errors(found, SOFTMAX)
        said = [f"{hits:.4f} / {first:.4f}" for hits, first in (after, before)]
        print(f"{model:16} {kind:17} {said[0]:>17} {said[1]:>17} {before[1] / after[1]:6.2f}", flush=True)


def pages(library: Sightline, scenes: Sequence[Scene], claim: Claim) -> tuple[Page, Page]:
    """Ask for a claim, of the gallery as it is and without what is right."""
    found = library.search("cards", claim_text(claim), k=CANDIDATES, candidates=CANDIDATES)
    page = [(margin(hit), is_right(hit, claim, scenes)) for hit in found]
    return page[:PLACES], [one for one in page if not one[1]][:PLACES]


def margin(hit: Hit) -> float:
    """Give the margin whose softmax a hit shows, as far as a float tells it from certainty."""
    share = min(max(hit.match_probability or 0.0, 1e-15), 1 - 1e-15)
    return math.log(share / (1 - share))


def curve(library: Sightline) -> Curve:
    """Read the curve by which the gallery's searches make match probabilities now."""
    gallery = library.gallery("cards")
    assert gallery.model is not None
    assert gallery.fingerprint is not None
    with library.wiring.database.reading() as session:
        found = calibrations.find(
            session, gallery.id, matcher=gallery.model, fingerprint=gallery.fingerprint, direction=IMAGES
        )
    assert found is not None
    return from_parameters(found.method, found.parameters)


def errors(asked: Sequence[Page], chosen: Curve) -> tuple[float, float]:
    """Expected calibration errors over all hits and over the first hits."""
    return error([one for page in asked for one in page], chosen), error([page[0] for page in asked if page], chosen)


def error(hits: Page, chosen: Curve) -> float:
    """Expected calibration error of some hits."""
    given = chosen.probabilities(np.array([margin for margin, _ in hits]))
    return calibration_error(given, np.array([float(right) for _, right in hits]))


def is_right(hit: Hit, claim: Claim, scenes: Sequence[Scene]) -> bool:
    """Say whether a claim holds of the scene that a hit shows."""
    scene = scenes[int(hit.uri.rpartition("-")[2].removesuffix(".png")) - 1]
    return requirements(claim) <= shown(scene) and holds(claim, scene)


if __name__ == "__main__":
    main()
