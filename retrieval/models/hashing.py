"""An encoder without weights and without torch, for tests where no model is meant. It finds only what is identical."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from retrieval.models.preprocess import resize
from retrieval.types import Float32, UInt8

ENCODER_REVISION = 1
DIMENSION = 64
IMAGE_SIZE = 32

_WORD = re.compile(r"\w+")


class HashingEncoder:
    """Equal pictures get equal vectors, texts that share words get similar ones; the two have nothing in common."""

    name = "hashing"
    dimension = DIMENSION
    vectors = 1

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the vectors: the sizes and the revision."""
        return hashlib.sha256(f"hashing {ENCODER_REVISION} {IMAGE_SIZE} {DIMENSION}".encode()).hexdigest()

    def prepare(self, image: Image) -> UInt8:
        """Resize an RGB picture to `uint8 [32, 32, 3]`."""
        return resize(image, IMAGE_SIZE)

    def encode_images(self, pixels: UInt8) -> Float32:
        """Embed prepared pictures `uint8 [n, 32, 32, 3]` to `float32 [n, 1, 64]`."""
        vectors = [_unit(_direction(picture.tobytes())) for picture in pixels]
        return np.array(vectors, dtype=np.float32).reshape(len(pixels), 1, DIMENSION)

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embed n texts to `float32 [n, 64]`: the sum of their words' directions. Word order does not count."""
        vectors = [_unit(_sum_of_words(text)) for text in texts]
        return np.array(vectors, dtype=np.float32).reshape(len(texts), DIMENSION)

    def unknown_words(self, text: str) -> list[str]:
        """Every word has a hash: none is unknown."""
        return []


def _sum_of_words(text: str) -> Float32:
    words = _WORD.findall(text.lower()) or [""]
    directions = np.array([_direction(word.encode()) for word in words])
    total: Float32 = directions.sum(axis=0, dtype=np.float32)
    return total


def _direction(data: bytes) -> Float32:
    """64 numbers in [-1, 1) that depend on every byte and on nothing else, on any machine."""
    digest = hashlib.shake_256(data).digest(2 * DIMENSION)
    return np.frombuffer(digest, dtype="<i2").astype(np.float32) / np.float32(32768)


def _unit(vector: Float32) -> Float32:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
