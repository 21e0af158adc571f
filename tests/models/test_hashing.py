"""The encoder without weights."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from PIL import Image

from retrieval.models.hashing import HashingEncoder

ENCODER = HashingEncoder()


def test_equal_pictures_get_equal_unit_vectors_and_others_do_not() -> None:
    red, blue = (ENCODER.prepare(Image.new("RGB", (40, 30), colour)) for colour in ("red", "blue"))
    vectors = ENCODER.encode_images(np.stack([red, red, blue]))
    assert vectors.shape == (3, 1, 64)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=2), 1, atol=1e-6)
    assert vectors[0].tolist() == vectors[1].tolist()
    assert float(vectors[0, 0] @ vectors[2, 0]) < 0.9


def test_texts_that_share_words_are_similar_in_any_order() -> None:
    dog_runs, runs_dog, dog_sits, other = ENCODER.encode_texts(["A dog runs", "runs, a dog!", "a dog sits", "blue sky"])
    np.testing.assert_allclose(dog_runs, runs_dog, atol=1e-6)
    assert float(dog_runs @ dog_sits) > 0.4 > float(dog_runs @ other)


def test_nothing_in_gives_nothing_out_and_an_empty_text_has_a_vector() -> None:
    assert ENCODER.encode_images(np.zeros((0, 32, 32, 3), dtype=np.uint8)).shape == (0, 1, 64)
    assert ENCODER.encode_texts([]).shape == (0, 64)
    np.testing.assert_allclose(np.linalg.norm(ENCODER.encode_texts([""])), 1, atol=1e-6)


def test_the_same_text_has_the_same_vector_on_every_machine() -> None:
    np.testing.assert_allclose(ENCODER.encode_texts(["dog"])[0, :3], [0.054951, -0.019371, -0.229272], atol=1e-6)


def test_loading_it_by_name_does_not_import_torch() -> None:
    code = """
import sys
from retrieval.models.resolve import resolve
from retrieval.models.load import load_encoder
assert load_encoder(resolve("hashing")).encode_texts(["a dog"]).shape == (1, 64)
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
