"""The authors' preprocessing, number for number and string for string."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD, normalise, pre_caption, pre_question, resize

GOLDEN = Path(__file__).parent.parent / "golden" / "preprocess"
TEXTS = json.loads((GOLDEN / "texts.json").read_text())


@pytest.mark.parametrize("name", ["image0", "image1"])
@pytest.mark.parametrize("size", [48, 32])
def test_pictures_are_resized_and_normalised_as_the_authors_do(name: str, size: int) -> None:
    with np.load(GOLDEN / "inputs.npz") as inputs, np.load(GOLDEN / "outputs.npz") as outputs:
        pixels = resize(Image.fromarray(inputs[name]), size)
        values = normalise(pixels[None], CLIP_MEAN, CLIP_STD)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (size, size, 3)
        np.testing.assert_allclose(values[0].numpy(), outputs[f"{name}_r{size}"], rtol=0, atol=1e-6)


def test_a_grey_picture_is_read_as_rgb() -> None:
    pixels = resize(Image.new("L", (5, 7), 128), 4)
    assert pixels.tolist() == np.full((4, 4, 3), 128).tolist()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_texts_are_cleaned_as_blip_does(text: dict[str, str]) -> None:
    assert pre_caption(text["raw"]) == text["blip_pre_caption_50"]
    assert pre_caption(text["raw"], max_words=30) == text["blip_pre_caption_30"]
    assert pre_question(text["raw"]) == text["blip_pre_question_50"]
