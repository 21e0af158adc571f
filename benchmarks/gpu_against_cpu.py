"""The shipped model on a GPU against the CPU in the same run: rate, and the largest difference of a score."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from retrieval.models.load import device_kind, load_matcher
from retrieval.models.resolve import resolve

PICTURES, REPEATS = 256, 5


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Interleave both devices and print the medians' ratio."""
    if device_kind() != "cuda":
        print("skipped: no CUDA device here")
        return
    side = resolve("postcards").image_size
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, side, side, 3), dtype=np.uint8)
    texts = ["three apples left of a red car", "a yellow boat above a tree at night"]
    pairs = np.stack([np.arange(PICTURES), np.arange(PICTURES) % 2], axis=1)
    models = {device: load_matcher(resolve("postcards"), device=device) for device in ("cpu", "cuda")}
    tokens = {device: model.image_tokens(pixels) for device, model in models.items()}
    logits = {device: model.match(tokens["cpu"], texts, pairs) for device, model in models.items()}
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(REPEATS):
        for device, model in models.items():
            looked = seconds(lambda model=model: model.image_tokens(pixels))
            matched = seconds(lambda model=model: model.match(tokens["cpu"], texts, pairs))
            times.setdefault(("image_tokens", device), []).append(looked)
            times.setdefault(("match", device), []).append(matched)
    for work in ("image_tokens", "match"):
        cpu, cuda = (statistics.median(times[work, device]) for device in ("cpu", "cuda"))
        print(f"{work}: GPU {PICTURES / cuda:.0f}/s, {cpu / cuda:.1f} x the CPU")
    print(f"largest difference: tokens {np.abs(tokens['cpu'] - tokens['cuda']).max():.1e}")
    print(f"largest difference: logits {np.abs(logits['cpu'] - logits['cuda']).max():.1e}")


if __name__ == "__main__":
    main()
