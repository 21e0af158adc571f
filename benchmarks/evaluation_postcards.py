"""What an evaluation of the shipped model takes: 1,000 postcards with a caption each, 64 candidates, both directions.

The reference is the model alone: as many pairs, in pages of as many candidates, straight through the matcher, in the
same process. The two take turns, and the medians are compared. What is beyond a ratio of 1 is everything else: first
stage, tokens of the pictures, pages in SQL, measures and intervals.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from api import Sightline
from api.settings import Settings
from retrieval.training.world.galleries import write_gallery
from storage import items

GALLERY = "postcards"
PICTURES_AT_ONCE = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        write_gallery(pictures, scenes=options.scenes, seed=17)
        keep_one_caption(pictures / "captions.jsonl")
        sightline = Sightline(settings=Settings(home=Path(folder) / "home", offline=True))
        sightline.index(pictures, gallery=GALLERY, model="postcards")
        runs, alone = [], []
        for _ in range(options.turns):
            begun = time.perf_counter()
            found = sightline.evaluate(GALLERY, candidates=options.candidates)
            runs.append(time.perf_counter() - begun)
            alone.append(model_alone(sightline, options.candidates))
        recalls = {one.name: one.after["recall@1"] for one in found.directions if one.after}
        sightline.close()
    pairs = sum(one.queries or 0 for one in found.directions) * options.candidates
    run, reference = statistics.median(runs), statistics.median(alone)
    print(f"{options.scenes} postcards, {options.candidates} candidates, both directions: {pairs} pairs")
    print(f"evaluation {run:.1f} s, the model alone {reference:.1f} s, ratio {run / reference:.2f}")
    print("recall@1 after reranking: " + ", ".join(f"{name} {recall:.3f}" for name, recall in recalls.items()))


def keep_one_caption(path: Path) -> None:
    """Leave each picture its first caption."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    kept = [json.dumps({"file": line["file"], "texts": line["texts"][:1]}) for line in lines]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def model_alone(sightline: Sightline, candidates: int) -> float:
    """Time the matcher on as many pairs: every picture with some texts, and every text with some pictures."""
    gallery = sightline.gallery(GALLERY)
    reranker = sightline.wiring.reranker_of(gallery)
    assert reranker is not None
    with sightline.wiring.database.reading() as session:
        shown = items.embedded(session, gallery.id, "image")
        texts = [item.text or "" for item in items.embedded(session, gallery.id, "text")]
    tokens = np.concatenate([stack for _, stack in reranker.tokens.of(shown)])
    ones, many = np.zeros(candidates, dtype=np.int64), np.arange(candidates)
    begun = time.perf_counter()
    for number in range(len(shown)):
        some = [texts[(number + i) % len(texts)] for i in range(candidates)]
        reranker.matcher.match(tokens[number : number + 1], some, np.stack([ones, many], axis=1))
    for number, text in enumerate(texts):
        for start in range(0, candidates, PICTURES_AT_ONCE):
            rows = [(number + i) % len(shown) for i in range(start, min(start + PICTURES_AT_ONCE, candidates))]
            pairs = np.stack([np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64)], axis=1)
            reranker.matcher.match(tokens[rows], [text], pairs)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
