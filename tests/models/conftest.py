"""Golden checkpoints in the authors' layout, turned into Hugging Face folders that the public loader can open."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parent.parent / "golden"

_DROPPED = re.compile(r".*_m\..*|.*_queue|queue_ptr|ptr_queue|idx_queue|temp|.*\.position_ids")
_RENAMED = (
    (r"^visual_encoder\.patch_embed\.proj", "vision_model.embeddings.patch_embedding"),
    (r"^visual_encoder\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.blocks\.(\d+)\.norm", r"vision_model.encoder.layers.\1.layer_norm"),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.qkv", r"vision_model.encoder.layers.\1.self_attn.qkv"),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj", r"vision_model.encoder.layers.\1.self_attn.projection"),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp", r"vision_model.encoder.layers.\1.mlp"),
    (r"^visual_encoder\.norm", "vision_model.post_layernorm"),
)
_ARCHITECTURES = {
    "blip_retrieval": "BlipForImageTextRetrieval",
    "blip_caption": "BlipForConditionalGeneration",
    "blip_vqa": "BlipForQuestionAnswering",
}


@dataclass(frozen=True)
class Golden:
    """One golden set and the Hugging Face folder made from it."""

    folder: Path
    config: dict[str, Any]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


@pytest.fixture(scope="session")
def golden_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Golden]:
    root = tmp_path_factory.mktemp("golden")
    return {name: _convert(name, root / name) for name in _ARCHITECTURES}


@pytest.fixture
def retrieval_set(golden_sets: dict[str, Golden]) -> Golden:
    return golden_sets["blip_retrieval"]


@pytest.fixture
def caption_set(golden_sets: dict[str, Golden]) -> Golden:
    return golden_sets["blip_caption"]


@pytest.fixture
def vqa_set(golden_sets: dict[str, Golden]) -> Golden:
    return golden_sets["blip_vqa"]


@pytest.fixture
def altered(retrieval_set: Golden, tmp_path: Path) -> Callable[..., Path]:
    """Copy the retrieval folder with its weights, its configuration or its vocabulary changed."""

    def alter(
        *,
        weights: Callable[[dict[str, torch.Tensor]], None] = lambda state: None,
        config: Callable[[dict[str, Any]], None] = lambda config: None,
        vocabulary: Callable[[list[str]], None] = lambda tokens: None,
    ) -> Path:
        folder = tmp_path / "altered"
        folder.mkdir()
        state = load_file(retrieval_set.folder / "model.safetensors")
        stated = json.loads((retrieval_set.folder / "config.json").read_text())
        tokens = (retrieval_set.folder / "vocab.txt").read_text().split("\n")[:-1]
        weights(state)
        config(stated)
        vocabulary(tokens)
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(stated))
        (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
        return folder

    return alter


def _convert(name: str, folder: Path) -> Golden:
    source = GOLDEN / name
    folder.mkdir()
    golden = json.loads((source / "config.json").read_text())
    state = torch.load(source / "checkpoint.pth", map_location="cpu", weights_only=True)["model"]
    renamed = {_rename(key): value.clone() for key, value in state.items() if not _DROPPED.fullmatch(key)}
    save_file(renamed, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(_config(name, golden)))
    (folder / "vocab.txt").write_bytes((source / "vocab.txt").read_bytes())
    with np.load(source / "inputs.npz") as inputs, np.load(source / "outputs.npz") as outputs:
        return Golden(folder, golden, dict(inputs), dict(outputs))


def _rename(key: str) -> str:
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


def _config(name: str, golden: dict[str, Any]) -> dict[str, Any]:
    vit = golden["vit"]
    bert = golden.get("bert") or golden["bert_encoder"]
    text_names = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "vocab_size",
    )
    return {
        "architectures": [_ARCHITECTURES[name]],
        "model_type": "blip",
        "image_text_hidden_size": golden.get("embed_dim", 24),
        "text_config": {key: bert[key] for key in text_names},
        "vision_config": {
            "hidden_size": vit["embed_dim"],
            "intermediate_size": vit["embed_dim"] * vit["mlp_ratio"],
            "num_hidden_layers": vit["depth"],
            "num_attention_heads": vit["num_heads"],
            "image_size": vit["image_size"],
            "patch_size": vit["patch_size"],
            # As the hub's configurations have it; the authors' value is 1e-6.
            "layer_norm_eps": 1e-5,
        },
    }
