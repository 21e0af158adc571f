"""The roles a model can play. Whoever calls a model knows these protocols and nothing else of it.

Pictures pass through two steps, so that the first can run in the threads that decode:
`prepare` (Pillow, the authors' resize) gives `uint8 [R, R, 3]`, everything after it works on stacks
`uint8 [n, R, R, 3]`. (SigLIP 2 with pictures of any aspect packs their patches into an array of its own shape.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from retrieval.types import Float32, UInt8

Precision = Literal["float32", "bfloat16", "float16"]
"""What a network computes in; the halves are for GPUs. What comes out is float32 always."""


class ImageReader(Protocol):
    """Whatever looks at pictures: it resizes them as its authors did."""

    @property
    def name(self) -> str:
        """The name the model is known by: a row of `checkpoints.py`, a Hugging Face id or a folder."""
        ...

    def prepare(self, image: Image) -> UInt8:
        """Resize an RGB picture to what the model reads: `uint8 [R, R, 3]`."""
        ...


class TextReader(Protocol):
    """Whatever reads texts."""

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the model's vocabulary cannot express, in order."""
        ...


class Encoder(ImageReader, TextReader, Protocol):
    """The ITC side: items and queries to L2-normalised embeddings."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights, preprocessing and encoder revision: equal fingerprints give equal embeddings."""
        ...

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        ...

    @property
    def vectors(self) -> int:
        """v: vectors per image (1 for ALBEF and BLIP, 32 for BLIP-2)."""
        ...

    def encode_images(self, pixels: UInt8) -> Float32:
        """Embed prepared pictures `uint8 [n, R, R, 3]` to `float32 [n, v, d]`."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embed n texts to `float32 [n, d]`."""
        ...


class Matcher(ImageReader, TextReader, Protocol):
    """The ITM side: (text, image) pairs to logits."""

    @property
    def fingerprint(self) -> str:
        """Digest of weights and preprocessing: what was measured of one fingerprint holds for no other."""
        ...

    def image_tokens(self, pixels: UInt8) -> Float32:
        """Patch embeddings that the ITM cross-attends to: `uint8 [n, R, R, 3]` to `float32 [n, t, c]`."""
        ...

    def match(self, tokens: Float32, texts: Sequence[str], pairs: NDArray[np.int64]) -> Float32:
        """Score pairs `int64 [m, 2]` (row of `tokens`, row of `texts`): logits `float32 [m, 2]`; class 1 is match."""
        ...


class Captioner(ImageReader, Protocol):
    """Image to text."""

    def caption(self, pixels: UInt8) -> list[str]:
        """Describe n prepared pictures: n captions."""
        ...


class Answerer(ImageReader, TextReader, Protocol):
    """(Image, question) to text."""

    def answer(self, pixels: UInt8, question: str) -> list[str]:
        """Answer one question about n prepared pictures: n answers."""
        ...


@runtime_checkable
class FeatureExtractor(ImageReader, TextReader, Protocol):
    """What a model makes of pictures, texts and pairs, as vectors for whatever comes after: one array for each.

    Projected vectors are L2-normalised and lie in the space of ITC, d long; the others are a layer's states, c long.
    Without `every_token` they are those that the model itself compares by: v for a picture or a pair, one for a text.
    `FeaturesMissing` names what a family cannot give.
    """

    def image_features(self, pixels: UInt8, *, projected: bool, every_token: bool) -> list[Float32]:
        """Say what is seen in n prepared pictures: n arrays `[v, d]`, or `[s, d]` with every token."""
        ...

    def text_features(self, texts: Sequence[str], *, projected: bool, every_token: bool) -> list[Float32]:
        """Say what is read in n texts: n arrays `[d]`, or `[s, d]` with every token, s being each text's own length."""
        ...

    def pair_features(self, pixels: UInt8, texts: Sequence[str], *, every_token: bool) -> list[Float32]:
        """Say what is read of text i with picture i in sight, not projected: n arrays `[v, c]`, or `[s, c]`."""
        ...
