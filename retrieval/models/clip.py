"""CLIP as an encoder: one vector for a picture, one for a text, compared by their cosine.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020),
section 2.4 for the two towers and for the text's last token as its feature. The reference class is transformers'
CLIPModel. Its parts are called one by one, because the class looks for the end of a text by an id from config.json,
which many folders state wrongly (2 instead of 49407); here it is the id of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Resampling
from transformers import CLIPConfig, CLIPModel

from retrieval.models import hub
from retrieval.models.network import TEXT_SIZES, VISION_SIZES, as_tensor, padded, pick
from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD, normalise
from retrieval.models.roles import Precision
from retrieval.models.towers import Framing, Tokens, Towers, Wording, configure, open_network
from retrieval.types import UInt8

_SIZES: Mapping[str, Sequence[str]] = {
    "vision_config": (*VISION_SIZES, "layer_norm_eps"),
    "text_config": (*TEXT_SIZES, "layer_norm_eps"),
    # What the first converted folders (ViT-L/14 among them) state it in; transformers prefers it, too.
    "vision_config_dict": (*VISION_SIZES, "layer_norm_eps"),
    "text_config_dict": (*TEXT_SIZES, "layer_norm_eps"),
}


class ClipEncoder(Towers):
    """CLIP's two towers: a causal text tower that is read at the end token, a vision tower at its class token."""

    revision = 1

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout."""
        config = _configure(folder)
        side = config.vision_config.image_size
        defaults = {"size": side, "crop_size": side, "do_center_crop": True, "resample": Resampling.BICUBIC}
        framing = Framing.read(folder, side=side, defaults=defaults | {"image_mean": CLIP_MEAN, "image_std": CLIP_STD})
        wording = _read_wording(folder, config.text_config)
        network = open_network(CLIPModel, config, folder, device=device, precision=precision)
        return cls(network, framing, wording, folder=folder, name=name, precision=precision)

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        return int(self.network.config.projection_dim)

    @torch.inference_mode()
    def see(self, pixels: UInt8) -> torch.Tensor:
        """Project what the class token has seen of pictures `uint8 [n, R, R, 3]`: `[n, d]`."""
        return as_tensor(self.network.visual_projection(self.pool_images(pixels)))

    @torch.inference_mode()
    def pool_images(self, pixels: UInt8) -> torch.Tensor:
        """Look with the class token at pictures `uint8 [n, R, R, 3]`: `[n, c]`."""
        values = normalise(pixels, self.preparation.mean, self.preparation.std, device=self.device)
        return as_tensor(self.network.vision_model(pixel_values=values.to(self.network.dtype)).pooler_output)

    @torch.inference_mode()
    def read(self, sequences: Sequence[list[int]]) -> torch.Tensor:
        """Project the state of each sequence's first end token: `[n, d]`."""
        return as_tensor(self.network.text_projection(self.pool_texts(sequences)))

    @torch.inference_mode()
    def pool_texts(self, sequences: Sequence[list[int]]) -> torch.Tensor:
        """Take the state of each sequence's first end token: `[n, c]`.

        Padding is neither masked nor filled up to 77: no token looks at what comes after it.
        """
        ids, _ = padded(sequences, pad=self.wording.last, device=self.device)
        ends = (ids == self.wording.last).int().argmax(dim=-1)
        states = self.network.text_model(input_ids=ids).last_hidden_state
        return as_tensor(states[torch.arange(len(ids), device=ids.device), ends])


def _configure(folder: Path) -> Any:
    stated = hub.read_config(folder)
    sizes = {side: names for side, names in _SIZES.items() if stated.get(side) is not None}
    return configure(CLIPConfig, folder, sizes=sizes, end=0, **pick(stated, ("projection_dim",)))


def _read_wording(folder: Path, text: Any) -> Wording:
    """Case and spaces are the tokenizer's own business here."""
    tokens = Tokens.open(folder, rows=text.vocab_size)
    first = tokens.special("bos_token", usual="<|startoftext|>")
    last = tokens.special("eos_token", usual="<|endoftext|>")
    return Wording(tokens, length=text.max_position_embeddings, first=(first,), last=last)
