"""SigLIP and SigLIP 2 as encoders: one vector for a picture, one for a text, compared by their cosine.

Sources: Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv 2303.15343), and Tschannen et al., SigLIP 2
(arXiv 2502.14786), section 2.4.2 for NaFlex, which keeps a picture's aspect. The reference classes are transformers'
SiglipModel (SigLIP, and SigLIP 2 of one resolution) and Siglip2Model (NaFlex).

Texts are filled up to the tower's whole length and nothing masks the padding: the models were trained so, and the last
position, padding or not, is what is read. SigLIP's texts lose case and punctuation, SigLIP 2's only case, although the
tokenizer that most of its folders name (Gemma's) would keep that.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL.Image import Image, Resampling
from tokenizers.normalizers import Lowercase
from transformers import Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel

from retrieval.errors import BadCheckpoint
from retrieval.models import hub
from retrieval.models.network import LAYER_SIZES, TEXT_SIZES, VISION_SIZES, as_tensor
from retrieval.models.preprocess import normalise
from retrieval.models.roles import Precision
from retrieval.models.towers import (
    Framing,
    Preparation,
    Tokens,
    Towers,
    Wording,
    as_rgb,
    configure,
    open_network,
    read_channels,
    read_processor,
    resized,
    unreadable,
)
from retrieval.types import UInt8

_HALF = (0.5, 0.5, 0.5)
_TEXT = (*TEXT_SIZES, "layer_norm_eps", "projection_size")
_SIZES = {"vision_config": (*VISION_SIZES, "layer_norm_eps"), "text_config": _TEXT}
_FLEXIBLE_SIZES = {"vision_config": (*LAYER_SIZES, "layer_norm_eps", "patch_size", "num_patches"), "text_config": _TEXT}

_TO_NOTHING = str.maketrans("", "", string.punctuation)
_SPACES = re.compile(r"\s+")
_LOWERCASE = Lowercase()

# The authors' search for the largest picture that fits; its steps decide between neighbouring grids.
_SEARCH_STEP = 1e-5
_LARGEST_SCALE = 100.0

_HEADER_BYTES = 4


class _Siglip(Towers):
    """What both share: the text tower, which is the same."""

    revision = 1

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        return int(self.network.config.vision_config.hidden_size)

    @torch.inference_mode()
    def read(self, sequences: Sequence[list[int]]) -> torch.Tensor:
        """Read each sequence at the last position of the tower's whole length: `[n, d]`."""
        ids = torch.tensor(sequences, device=self.device)
        return as_tensor(self.network.text_model(input_ids=ids).pooler_output)


class SiglipEncoder(_Siglip):
    """SigLIP, and SigLIP 2 of one resolution: pictures become squares, their aspect is not kept."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout."""
        config = configure(SiglipConfig, folder, sizes=_SIZES, end=None)
        wording = _read_wording(folder, config)
        side = config.vision_config.image_size
        resample = Resampling.BICUBIC if _is_first(wording.tokens) else Resampling.BILINEAR
        defaults = {"size": {"height": side, "width": side}, "resample": resample}
        framing = Framing.read(folder, side=side, defaults=defaults | {"image_mean": _HALF, "image_std": _HALF})
        network = open_network(SiglipModel, config, folder, device=device, precision=precision)
        return cls(network, framing, wording, folder=folder, name=name, precision=precision)

    @torch.inference_mode()
    def see(self, pixels: UInt8) -> torch.Tensor:
        """Pool what the tower has seen of pictures `uint8 [n, R, R, 3]`: `[n, d]`."""
        values = normalise(pixels, self.preparation.mean, self.preparation.std, device=self.device)
        return as_tensor(self.network.vision_model(pixel_values=values.to(self.network.dtype)).pooler_output)


class Siglip2Encoder(_Siglip):
    """SigLIP 2 NaFlex: a picture keeps its aspect and becomes as many whole patches as are allowed."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout."""
        config = configure(Siglip2Config, folder, sizes=_FLEXIBLE_SIZES, end=None)
        wording = _read_wording(folder, config)
        patching = Patching.read(folder, patch=config.vision_config.patch_size, most=config.vision_config.num_patches)
        network = open_network(Siglip2Model, config, folder, device=device, precision=precision)
        return cls(network, patching, wording, folder=folder, name=name, precision=precision)

    @torch.inference_mode()
    def see(self, pixels: UInt8) -> torch.Tensor:
        """Pool what the tower has seen of packed pictures `uint8 [n, 1 + m, p * p * 3]`: `[n, d]`."""
        grids, patches = unpacked(pixels)
        count, most, width = patches.shape
        mean, std = self.preparation.mean, self.preparation.std
        values = normalise(patches.reshape(count, most, width // 3, 3), mean, std, device=self.device)
        filled = np.arange(most) < grids.prod(axis=1, keepdims=True)
        seen = self.network.vision_model(
            pixel_values=values.permute(0, 2, 3, 1).reshape(count, most, width).to(self.network.dtype),
            pixel_attention_mask=torch.tensor(filled, dtype=torch.long, device=self.device),
            spatial_shapes=torch.tensor(grids),
        )
        return as_tensor(seen.pooler_output)


@dataclass(frozen=True)
class Patching(Preparation):
    """Cut a picture into at most `most` patches of `patch` x `patch` pixels, its aspect kept.

    Pictures of all aspects are packed into arrays of one shape, `uint8 [1 + most, patch * patch * 3]`: the first row
    holds the grid in its first four bytes (rows and columns, 16 bits each, the low byte first), the next rows the
    patches from left to right and from top to bottom, each as `[patch, patch, 3]`; the rest is zero.
    """

    patch: int
    most: int

    @classmethod
    def read(cls, folder: Path, *, patch: int, most: int) -> Patching:
        """Read preprocessor_config.json, which may allow more patches than there are trained positions."""
        defaults = {"image_mean": _HALF, "image_std": _HALF, "resample": Resampling.BILINEAR, "max_num_patches": most}
        stated = {**defaults, **read_processor(folder)}
        if stated.get("patch_size", patch) != patch:
            raise BadCheckpoint(folder, f"config.json has patches of {patch}, preprocessor_config.json others")
        try:
            return cls(int(stated["resample"]), *read_channels(stated), patch, int(stated["max_num_patches"]))
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(folder, error) from error

    def apply(self, image: Image) -> UInt8:
        """Cut a picture into patches and pack them."""
        rows, columns = self.grid(*image.size)
        pixels = resized(as_rgb(image), (rows * self.patch, columns * self.patch), self.resample)
        patches = np.array(pixels, dtype=np.uint8).reshape(rows, self.patch, columns, self.patch, 3).swapaxes(1, 2)
        packed = np.zeros((1 + self.most, self.patch * self.patch * 3), dtype=np.uint8)
        packed[0, :_HEADER_BYTES] = np.array([rows, columns], dtype="<u2").view(np.uint8)
        packed[1 : 1 + rows * columns] = patches.reshape(rows * columns, -1)
        return packed

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of patches for a picture: each side is rounded up to whole patches."""
        low, high = _SEARCH_STEP / 10, _LARGEST_SCALE
        while high - low >= _SEARCH_STEP:
            middle = (low + high) / 2
            fits = math.prod(self._grid_at(middle, width, height)) <= self.most
            low, high = (middle, high) if fits else (low, middle)
        return self._grid_at(low, width, height)

    def _grid_at(self, scale: float, width: int, height: int) -> tuple[int, int]:
        rows, columns = (max(1, math.ceil(side * scale / self.patch)) for side in (height, width))
        return rows, columns


def unpacked(pixels: UInt8) -> tuple[np.ndarray[Any, np.dtype[np.int64]], UInt8]:
    """Take packed pictures `uint8 [n, 1 + m, w]` apart: grids `int64 [n, 2]` and patches `uint8 [n, m, w]`."""
    headers = np.ascontiguousarray(pixels[:, 0, :_HEADER_BYTES])
    return headers.view("<u2").astype(np.int64), pixels[:, 1:]


def lowered(text: str) -> str:
    """Clean a text as SigLIP 2 does: lower case, character by character."""
    return str(_LOWERCASE.normalize_str(text))


def bare(text: str) -> str:
    """Clean a text as SigLIP does, but keep its case: no ASCII punctuation, single spaces."""
    return _SPACES.sub(" ", text.replace("▁", " ").translate(_TO_NOTHING)).strip()


def canonical(text: str) -> str:
    """Clean a text as SigLIP does: lower case, no ASCII punctuation, single spaces."""
    return bare(text.lower())


def _read_wording(folder: Path, config: Any) -> Wording:
    text = config.text_config
    if text.projection_size != config.vision_config.hidden_size:
        raise BadCheckpoint(folder, "config.json gives texts and pictures vectors of different lengths")
    tokens, stated = Tokens.open(folder, rows=text.vocab_size), hub.read_tokenizer(folder)
    first = _is_first(tokens)
    cleaned = canonical if stated.get("do_lower_case", True) else bare
    return Wording(
        tokens,
        length=text.max_position_embeddings,
        last=tokens.special("eos_token", usual="</s>" if first else "<eos>"),
        clean=cleaned if first else lowered,
        pad=tokens.special("pad_token", usual="</s>" if first else "<pad>"),
        pads_left=stated.get("padding_side") == "left",
    )


def _is_first(tokens: Tokens) -> bool:
    """Whether a tokenizer is the first SigLIP's and not Gemma's: the folders of both generations say `siglip`."""
    return tokens.kind == "Unigram"
