"""What half precision changes: similarities, match logits and the order of a page against float32, and the time.

The bundled models on drawn postcards, on a GPU where there is one. On a CPU the numbers are those of the halves, too,
but not the speed: there Sightline computes in float32. Both precisions are measured in turns, and the medians compared.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))

from retrieval.models.load import device_kind, load_encoder, load_matcher
from retrieval.models.resolve import resolve
from retrieval.models.roles import Precision
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import claim_text
from retrieval.training.world.galleries import gallery_scenes
from retrieval.training.world.render import render
from retrieval.types import Float32, UInt8

MODELS = ("postcards", "postcards-blip2", "postcards-albef")
HALVES: tuple[Precision, ...] = ("bfloat16", "float16")
SCENES, CANDIDATES, REPEATS = 64, 16, 5


def main() -> None:
    """Print a line for each model and half."""
    device = device_kind()
    scenes = gallery_scenes(SCENES, seed=11)
    texts = [claim_text(fullest_claim(scene)) for scene in scenes]
    print(f"{device}: {SCENES} postcards, {CANDIDATES} candidates for each of {len(texts)} captions")
    for name in MODELS:
        model = {precision: Model(name, device, precision) for precision in ("float32", *HALVES)}
        pixels = np.stack([model["float32"].encoder.prepare(render(scene)) for scene in scenes])
        similarity = {precision: one.similarities(pixels, texts) for precision, one in model.items()}
        best = np.argsort(-similarity["float32"], axis=1, kind="stable")[:, :CANDIDATES]
        logit = {precision: one.logits(pixels, texts, best) for precision, one in model.items()}
        seconds: dict[str, list[float]] = {precision: [] for precision in model}
        for _ in range(REPEATS):
            for precision, one in model.items():
                start = time.perf_counter()
                one.logits(pixels, texts, best)
                seconds[precision].append(time.perf_counter() - start)
        for half in HALVES:
            same = logit[half].argmax(axis=1) == logit["float32"].argmax(axis=1)
            ratio = statistics.median(seconds["float32"]) / statistics.median(seconds[half])
            print(
                f"{name:16} {half:9} largest difference: similarity {apart(similarity, half):.1e}, "
                f"logit {apart(logit, half):.1e}; same first hit {same.mean():.3f}; "
                f"time of float32 / {half} {ratio:.2f}"
            )


class Model:
    """A bundled model in one precision."""

    def __init__(self, name: str, device: str, precision: Precision) -> None:
        checkpoint = resolve(name)
        self.encoder = load_encoder(checkpoint, device=device, precision=precision)
        self.matcher = load_matcher(checkpoint, device=device, precision=precision)

    def similarities(self, pixels: UInt8, texts: Sequence[str]) -> Float32:
        """ITC similarities of every text with every picture, `[m, n]`."""
        images, asked = self.encoder.encode_images(pixels), self.encoder.encode_texts(texts)
        greatest: Float32 = np.einsum("nvd,md->mnv", images, asked).max(axis=2)
        return greatest

    def logits(self, pixels: UInt8, texts: Sequence[str], best: NDArray[np.int64]) -> Float32:
        """Match logits of every text with its candidates, `[m, k]`."""
        pairs = np.array([(image, text) for text, row in enumerate(best) for image in row], dtype=np.int64)
        return self.matcher.match(self.matcher.image_tokens(pixels), texts, pairs)[:, 1].reshape(best.shape)


def apart(numbers: dict[str, Float32], half: str) -> float:
    """The largest difference of a half from float32."""
    return float(np.abs(numbers[half] - numbers["float32"]).max())


if __name__ == "__main__":
    main()
