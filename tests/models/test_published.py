"""Published scores, where the published checkpoints and the benchmarks can be had.

`SIGHTLINE_BENCHMARKS` names a folder with `coco/` and `flickr30k/`: the pictures of Karpathy's test splits, each with a
captions.jsonl of five texts a picture. The figures are the papers' (ALBEF arXiv 2107.07651, BLIP 2201.12086, BLIP-2
2301.12597): R@1, R@5, R@10 from image to text and from text to image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import Sightline
from api.settings import Settings
from retrieval.models import hub
from retrieval.models.checkpoints import CHECKPOINTS

pytestmark = [pytest.mark.weights, pytest.mark.timeout(0)]

BENCHMARKS = os.environ.get("SIGHTLINE_BENCHMARKS")
POINTS = 0.2
"""How far a score may lie from the published one, in points: a handful of queries of 5,000."""

CUTOFFS = ("recall@1", "recall@5", "recall@10")
Scores = tuple[float, float, float]

PUBLISHED: tuple[tuple[str, str, int, Scores, Scores], ...] = (
    ("albef-coco", "coco", 256, (77.6, 94.3, 97.2), (60.7, 84.3, 90.5)),
    ("albef-flickr", "flickr30k", 128, (95.9, 99.8, 100.0), (85.6, 97.5, 98.9)),
    ("albef-coco", "flickr30k", 128, (94.1, 99.5, 99.7), (82.8, 96.3, 98.1)),
    ("blip-retrieval-base-coco", "coco", 256, (81.9, 95.4, 97.8), (64.3, 85.7, 91.5)),
    ("blip-retrieval-base-flickr", "flickr30k", 128, (97.3, 99.9, 100.0), (87.3, 97.6, 98.9)),
    ("blip-retrieval-large-coco", "coco", 256, (82.4, 95.4, 97.9), (65.1, 86.3, 91.8)),
    ("blip-retrieval-large-flickr", "flickr30k", 128, (97.4, 99.8, 99.9), (87.6, 97.7, 99.0)),
    ("blip-retrieval-large-coco", "flickr30k", 128, (96.7, 100.0, 100.0), (86.7, 97.3, 98.7)),
    ("blip-itm-base-coco", "coco", 256, (81.9, 95.4, 97.8), (64.3, 85.7, 91.5)),
    ("blip-itm-large-coco", "coco", 256, (82.4, 95.4, 97.9), (65.1, 86.3, 91.8)),
    ("blip2-coco", "coco", 128, (85.4, 97.0, 98.5), (68.3, 87.7, 92.6)),
    ("blip2-coco", "flickr30k", 128, (97.6, 100.0, 100.0), (89.7, 98.1, 98.9)),
    ("blip2-itm-vit-g-coco", "coco", 128, (85.4, 97.0, 98.5), (68.3, 87.7, 92.6)),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sightline]:
    opened = Sightline(settings=Settings(home=tmp_path_factory.mktemp("published"), offline=True))
    yield opened
    opened.close()


@pytest.mark.parametrize(("model", "benchmark", "candidates", "to_text", "to_image"), PUBLISHED)
def test_recall_is_the_published_one(
    library: Sightline, model: str, benchmark: str, candidates: int, to_text: Scores, to_image: Scores
) -> None:
    if not hub.is_cached(CHECKPOINTS[model], "encoder"):
        pytest.skip(f"the weights of {model} are not here: sightline index FOLDER --model {model} downloads them")
    if BENCHMARKS is None or not (Path(BENCHMARKS) / benchmark / "captions.jsonl").is_file():
        pytest.skip(f"SIGHTLINE_BENCHMARKS names no folder with {benchmark}/captions.jsonl and its pictures")
    name = f"{benchmark}-{model}"
    library.index(Path(BENCHMARKS) / benchmark, gallery=name, model=model)
    evaluated = library.evaluate(name, candidates=candidates)
    wanted = {"image->text": to_text, "text->image": to_image}
    for direction in evaluated.directions:
        assert direction.after is not None
        got = [100 * direction.after[cutoff] for cutoff in CUTOFFS]
        assert got == pytest.approx(wanted[direction.name], abs=POINTS), direction.name
