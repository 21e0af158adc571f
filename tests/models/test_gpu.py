"""The shipped models on a GPU: what float32 changes there, and what the halves do. Nothing of conftest.py is needed."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.models.load import device_kind, load_encoder, load_matcher
from retrieval.models.resolve import resolve
from retrieval.models.roles import Precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(device_kind() != "cuda", reason="torch sees no CUDA device"),
]

MODELS = ("postcards", "postcards-blip2", "postcards-albef")
TEXTS = ["three apples left of a red car", "a yellow boat above a tree at night"]
FLOAT32 = 2e-4
"""Sums in another order; torch multiplies float32 exactly unless told otherwise."""


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("precision", "cosine", "logit"), [("float32", FLOAT32, 1e-3), ("bfloat16", 0.1, 0.5), ("float16", 0.02, 0.1)]
)
def test_a_gpu_gives_nearly_what_a_cpu_gives(name: str, precision: Precision, cosine: float, logit: float) -> None:
    checkpoint = resolve(name)
    side = checkpoint.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    pairs = np.array([(image, text) for image in range(8) for text in range(2)], dtype=np.int64)
    found = []
    for device, computed in (("cpu", "float32"), ("cuda", precision)):
        encoder = load_encoder(checkpoint, device=device, precision=computed)  # type: ignore[arg-type]
        matcher = load_matcher(checkpoint, device=device, precision=computed)  # type: ignore[arg-type]
        logits = matcher.match(matcher.image_tokens(pixels), TEXTS, pairs)
        found.append((encoder.encode_images(pixels), encoder.encode_texts(TEXTS), logits))
    for exact, rough, bound in zip(*found, (cosine, cosine, logit), strict=True):
        np.testing.assert_allclose(rough, exact, rtol=0, atol=bound)
