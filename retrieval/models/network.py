"""What every family that sees pictures is made of: a network on a device, and batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from retrieval.models.preprocess import normalise, resize
from retrieval.models.roles import Precision
from retrieval.types import Float32, UInt8

# Bounds on memory: 16 pictures of 577 tokens need 0.3 GB for one layer's attention, 64 pairs 0.1 GB of image tokens.
IMAGES_AT_ONCE = 16
TEXTS_AT_ONCE = 128
PAIRS_AT_ONCE = 64

LAYER_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
VISION_SIZES = (*LAYER_SIZES, "image_size", "patch_size")
TEXT_SIZES = (*LAYER_SIZES, "vocab_size", "max_position_embeddings")


_TYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Sighted:
    """A network with a vision tower, as transformers names its parts, and the folder that it came from."""

    def __init__(self, network: Any, *, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder
        self.network = network
        self.image_size: int = network.config.vision_config.image_size
        somewhere = network.vision_model.embeddings.class_embedding
        self.device, self.dtype = str(somewhere.device), somewhere.dtype
        self.precision: Precision = next(name for name, dtype in _TYPES.items() if dtype == self.dtype)

    def prepare(self, image: Image) -> UInt8:
        """Resize an RGB picture to `uint8 [R, R, 3]`."""
        return resize(image, self.image_size)

    @torch.inference_mode()
    def look(self, values: torch.Tensor) -> torch.Tensor:
        """Turn normalised pictures `float32 [n, 3, R, R]` into image tokens `[n, t, c]` of the network's type."""
        return as_tensor(self.network.vision_model(pixel_values=values.to(self.dtype)).last_hidden_state)

    def looks(self, pixels: UInt8) -> Iterator[torch.Tensor]:
        """Image tokens of prepared pictures `uint8 [n, R, R, 3]`, a bounded number at a time."""
        for start in range(0, len(pixels), IMAGES_AT_ONCE):
            yield self.look(normalise(pixels[start : start + IMAGES_AT_ONCE], device=self.device))

    def image_tokens(self, pixels: UInt8) -> Float32:
        """Compute what text layers cross-attend to: `uint8 [n, R, R, 3]` to `float32 [n, t, c]`."""
        vision = self.network.config.vision_config
        tokens = (vision.image_size // vision.patch_size) ** 2 + 1
        return joined([as_array(part) for part in self.looks(pixels)], (0, tokens, vision.hidden_size))


def best_device() -> str:
    """The kind of device that models run on here: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def placed(network: Any, *, device: str | None, precision: Precision) -> Any:
    """Put a filled network where it runs, in what it computes in; None takes CUDA where there is one."""
    return network.eval().requires_grad_(False).to(device or best_device(), _TYPES[precision])


def padded(sequences: Sequence[list[int]], *, pad: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, `int64 [n, s]`: s is the longest sequence, for padding contributes nothing."""
    longest = max(map(len, sequences))
    ids = [sequence + [pad] * (longest - len(sequence)) for sequence in sequences]
    mask = [[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def alike(lengths: Sequence[int], *, most: int) -> Iterator[NDArray[np.int64]]:
    """Rows of one length, at most so many at a time, shorter ones first.

    Without padding a row is computed the same way whatever shares its batch. With it the logits of a full-size ALBEF
    moved by 2e-6, as sums of other lengths are rounded at other places.
    """
    counted = np.asarray(lengths, dtype=np.int64)
    for length in np.unique(counted):
        rows = np.flatnonzero(counted == length)
        yield from (rows[start : start + most] for start in range(0, len(rows), most))


def pick(stated: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The values of a configuration that are asked for, where they are stated."""
    return {name: stated[name] for name in names if name in stated}


def as_tensor(value: Any) -> torch.Tensor:
    """The border to transformers, which is not typed."""
    assert isinstance(value, torch.Tensor)
    return value


def as_array(tensor: torch.Tensor) -> Float32:
    """A tensor of any device and type as an array."""
    array: Float32 = tensor.float().cpu().numpy()
    return array


def joined(parts: Sequence[Float32], empty: tuple[int, ...]) -> Float32:
    """All parts as one array; of the shape `empty` where there are none."""
    return np.concatenate(parts) if parts else np.zeros(empty, dtype=np.float32)
