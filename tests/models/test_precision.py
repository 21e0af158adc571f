"""Half precision: the network computes in it, what comes out is float32, and a gallery knows the difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from api import Sightline
from api.errors import UsageError
from api.settings import Settings
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.models.load import load_answerer, load_captioner, load_encoder, load_matcher
from retrieval.models.resolve import resolve
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import claim_text
from retrieval.training.world.galleries import gallery_scenes
from retrieval.training.world.render import render

GOLDEN = Path(__file__).parent.parent / "golden"
FAMILIES = ("albef_retrieval", "blip_retrieval", "blip2_qformer")
PAIRS = np.array([[0, 0], [1, 0]], dtype=np.int64)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_a_half_gives_nearly_the_same_in_float32(name: str, half: str) -> None:
    checkpoint = resolve(str(GOLDEN / name))
    exact, rough = (
        load_matcher(checkpoint, device="cpu", offline=True, precision=precision)  # type: ignore[arg-type]
        for precision in ("float32", half)
    )
    encoders = [load_encoder(checkpoint, device="cpu", offline=True, precision=p) for p in ("float32", half)]  # type: ignore[arg-type]
    assert encoders[0] is exact
    assert encoders[1] is rough
    assert exact is not rough
    assert next(rough.network.parameters()).dtype == getattr(torch, half)  # type: ignore[attr-defined]
    side = checkpoint.image_size
    pixels = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    images = [encoder.encode_images(pixels) for encoder in encoders]
    texts = [encoder.encode_texts(["a dog on a street"]) for encoder in encoders]
    logits = [one.match(one.image_tokens(pixels), ["a dog on a street"], PAIRS) for one in (exact, rough)]
    for found in (images, texts, logits):
        assert all(array.dtype == np.float32 for array in found)
        assert 0 < np.abs(found[0] - found[1]).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(images[1], axis=-1), 1, atol=1e-6)


def test_the_precision_is_part_of_the_fingerprint() -> None:
    checkpoint = CHECKPOINTS["postcards"]
    prints = {
        load_encoder(checkpoint, device="cpu", offline=True, precision=precision).fingerprint
        for precision in ("float32", "bfloat16", "float16")
    }
    assert len(prints) == 3


@pytest.mark.parametrize("name", ["postcards", "postcards-blip2"])
def test_captions_and_answers_are_written_in_a_half(name: str) -> None:
    checkpoint = CHECKPOINTS[name]
    pixels = np.full((1, 144, 144, 3), 90, dtype=np.uint8)
    captioner = load_captioner(checkpoint, device="cpu", offline=True, precision="bfloat16")
    answerer = load_answerer(checkpoint, device="cpu", offline=True, precision="bfloat16")
    assert len(captioner.caption(pixels)) == 1
    assert len(answerer.answer(pixels, "what is there?")) == 1


def test_on_a_cpu_a_half_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, offline=True, device="cpu", precision="bfloat16")
    library = Sightline(settings=settings)
    with pytest.raises(UsageError, match=r"SIGHTLINE_PRECISION is bfloat16.*float32; unset it"):
        library.ask(Image.new("RGB", (8, 8)), model="postcards")
    library.close()


@pytest.mark.parametrize("name", ["postcards", "postcards-blip2", "postcards-albef"])
def test_a_pair_is_scored_the_same_in_any_company(name: str) -> None:
    """To 1e-6 of the largest logit: float32 has seven digits, and products of other sizes round elsewhere."""
    checkpoint = CHECKPOINTS[name]
    matcher = load_matcher(checkpoint, device="cpu", offline=True)
    scenes = gallery_scenes(12, seed=3)
    pixels = np.stack([matcher.prepare(render(scene)) for scene in scenes])
    texts = [claim_text(fullest_claim(scene)) for scene in scenes[:8]] + ["a red car", "three boats"]
    tokens = matcher.image_tokens(pixels)
    pairs = np.array([(image, text) for image in range(12) for text in range(10)], dtype=np.int64)
    together = matcher.match(tokens, texts, pairs)
    alone = [matcher.match(tokens[i : i + 1], [texts[j]], np.zeros((1, 2), dtype=np.int64)) for i, j in pairs]
    largest = np.abs(together).max()
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-6 * max(1, largest))
