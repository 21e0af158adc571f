"""A fresh ALBEF on a frozen vision tower, and the folder that it is saved in. The tower is not in its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from retrieval.models.albef import AlbefNetwork, AlbefRetrieval
from retrieval.models.vocabulary import Vocabulary
from retrieval.training.folders import write_json, write_preprocessing, write_vocabulary
from retrieval.training.tower import PREFIX, Tower, share_tower
from retrieval.training.world.vocabulary import MAX_TOKENS, tokenizer

ARCHITECTURE = "AlbefForImageTextRetrieval"


@dataclass(frozen=True)
class AlbefSize:
    """How large an ALBEF is beside its tower: with 600 words, 1.9 million weights."""

    width: int = 128
    heads: int = 4
    text_layers: int = 3
    fusion_layers: int = 4
    inner: int = 512
    embedding: int = 128
    text_positions: int = MAX_TOKENS


@dataclass(frozen=True)
class Albef:
    """The network, the words that it reads, and its configuration as the folder states it."""

    network: AlbefNetwork
    tokens: Sequence[str]
    stated: dict[str, Any]

    @property
    def reader(self) -> AlbefRetrieval:
        """The model in its roles, as whoever opens its folder has it: on the same weights."""
        folder, rows = Path("itm"), len(self.tokens)
        numbered = {token: number for number, token in enumerate(self.tokens)}
        vocabulary = Vocabulary(numbered, folder=folder, rows=rows, added=())
        return AlbefRetrieval(self.network, vocabulary, text_length=self.text_length, folder=folder, name="albef")

    @property
    def text_length(self) -> int:
        """The most ids of a text: as many as there are positions."""
        return int(self.stated["text_config"]["max_position_embeddings"])


def fresh_albef(tower: Tower, size: AlbefSize, tokens: Sequence[str], *, seed: int) -> Albef:
    """An ALBEF with random weights, the same for the same seed, on a tower that is no longer trained."""
    stated = _stated(tower, size, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AlbefNetwork(stated)
        for module in network.modules():
            _begin(module, std=size.width**-0.5)
    network.vision_model.load_state_dict({key.removeprefix(PREFIX): value for key, value in tower.state.items()})
    network.vision_model.requires_grad_(False)
    return Albef(network.eval(), tokens, stated)


def save_albef(albef: Albef, folder: Path, *, tower: Path) -> None:
    """Write the folder itm: weights in float16, configuration, tokenizer, preprocessing.

    The weights of the tower stay in the file `tower`, which the folder names by its relative path; ValueError where
    the network has another tower.
    """
    part = folder / "itm"
    part.mkdir(parents=True, exist_ok=True)
    state = {name: weight.half().contiguous() for name, weight in albef.network.state_dict().items()}
    save_file(state, part / "model.safetensors", metadata={"format": "pt"})
    if not share_tower(part, tower):
        raise ValueError(f"the vision tower is not the one in {tower}")
    tokenizer(albef.tokens, longest=albef.text_length).save_pretrained(part)
    write_vocabulary(part, albef.tokens)
    write_json(part / "config.json", {"architectures": [ARCHITECTURE], "model_type": "albef", **albef.stated})
    write_preprocessing(part, albef.stated["vision_config"]["image_size"])


def without_tower(network: AlbefNetwork) -> nn.ModuleList:
    """Everything that is trained."""
    return nn.ModuleList([network.text_encoder, network.vision_proj, network.text_proj, network.itm_head])


def _begin(module: nn.Module, *, std: float) -> None:
    # BERT's 0.02 is made for a width of 768; torch's own 1.0 of embeddings drowns the words in their positions.
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _stated(tower: Tower, size: AlbefSize, tokens: Sequence[str]) -> dict[str, Any]:
    text = {
        "vocab_size": len(tokens),
        "hidden_size": size.width,
        "intermediate_size": size.inner,
        "num_hidden_layers": size.text_layers + size.fusion_layers,
        "num_attention_heads": size.heads,
        "hidden_act": "gelu",
        "max_position_embeddings": size.text_positions,
        "fusion_layer": size.text_layers,
        "type_vocab_size": 2,
    }
    return {"image_text_hidden_size": size.embedding, "text_config": text, "vision_config": dict(tower.config)}
