"""Golden checkpoints in the authors' layout, turned into Hugging Face folders that the public loader can open."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
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
_RENAMED_BLIP2 = (
    *_RENAMED[:-1],
    (r"^ln_vision", "vision_model.post_layernorm"),
    (r"^Qformer\.bert\.embeddings\.LayerNorm", "qformer.layernorm"),
    (r"^Qformer\.bert\.embeddings", "embeddings"),
    (r"^Qformer\.bert\.encoder", "qformer.encoder"),
    (r"attention\.self", "attention.attention"),
    (r"^(vision|text)_proj\.", r"\1_projection."),
    (r"^opt_proj", "language_projection"),
)
_NOT_IN_BLIP2 = re.compile(r"temp|Qformer\.cls\..*|.*\.position_ids|.*\.(q_bias|v_bias)")
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


@pytest.fixture(scope="session")
def qformer_set(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """BLIP-2's first stage: ITC, ITM and captions by the Q-Former alone."""
    source = GOLDEN / "blip2_qformer"
    state = torch.load(source / "checkpoint.pth", map_location="cpu", weights_only=True)["model"]
    return _converted(source, tmp_path_factory.mktemp("qformer"), _blip2_state(state), "Blip2ForImageTextRetrieval")


@pytest.fixture(scope="session")
def opt_set(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """BLIP-2's second stage: the queries as the prefix of a small OPT."""
    source, folder = GOLDEN / "blip2_opt", tmp_path_factory.mktemp("opt")
    trained = torch.load(source / "checkpoint.pth", map_location="cpu", weights_only=True)["model"]
    vision = torch.load(source / "eva_vit.pth", map_location="cpu", weights_only=True)
    language = {f"language_model.{key}": value for key, value in load_file(source / "opt_model.safetensors").items()}
    state = _blip2_state(trained | {f"visual_encoder.{key}": value for key, value in vision.items()}) | language
    golden = _converted(source, folder, state, "Blip2ForConditionalGeneration")
    (folder / "tokenizer.json").write_bytes((source / "opt_tokenizer.json").read_bytes())
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": golden.config["generation_eos_token_id"]})
    )
    return golden


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


def _converted(source: Path, folder: Path, state: dict[str, torch.Tensor], architecture: str) -> Golden:
    golden = json.loads((source / "config.json").read_text())
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(_blip2_config(golden, architecture)))
    (folder / "vocab.txt").write_bytes((source / "vocab.txt").read_bytes())
    with np.load(source / "inputs.npz") as inputs, np.load(source / "outputs.npz") as outputs:
        return Golden(folder, golden, dict(inputs), dict(outputs))


def _blip2_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The authors' keys as transformers has them; the bias of queries, keys (none) and values becomes one."""
    biases = {
        key.replace("q_bias", "qkv.bias"): torch.cat(
            [value, torch.zeros_like(value), state[key.replace("q_bias", "v_bias")]]
        )
        for key, value in state.items()
        if key.endswith("q_bias")
    }
    kept = {key: value for key, value in state.items() if not _NOT_IN_BLIP2.fullmatch(key)}
    return {_rename(key, _RENAMED_BLIP2): value.clone() for key, value in (kept | biases).items()}


def _blip2_config(golden: dict[str, Any], architecture: str) -> dict[str, Any]:
    vit, qformer, opt = golden["vit"], golden["qformer"], golden.get("opt")
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    language = {key: value for key, value in (opt or {}).items() if key not in ("activation", "layer_norm_eps")}
    return {
        "architectures": [architecture],
        "model_type": "blip-2",
        "num_query_tokens": qformer["num_query_token"],
        "image_text_hidden_size": golden.get("embed_dim", 24),
        "qformer_config": {key: qformer[key] for key in (*sizes, "vocab_size")}
        | {"cross_attention_frequency": qformer["cross_attention_freq"]},
        "text_config": {"model_type": "opt", **language},
        "vision_config": {
            "hidden_size": vit["embed_dim"],
            "intermediate_size": vit["mlp_hidden"],
            "num_hidden_layers": vit["depth"],
            "num_attention_heads": vit["num_heads"],
            "image_size": vit["image_size"],
            "patch_size": vit["patch_size"],
            # As transformers had it before the authors' value was found.
            "layer_norm_eps": 1e-5,
        },
    }


def _rename(key: str, renamed: Sequence[tuple[str, str]] = _RENAMED) -> str:
    for pattern, replacement in renamed:
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
