"""The authors' own checkpoint files, read as transformers has them: the same names of weights, the same configuration.

Sources: salesforce/ALBEF, salesforce/BLIP and salesforce/LAVIS (BLIP-2). A file is a dictionary of tensors, bare or
below "model", beside what training needed: momentum twins, queues, a temperature. Sizes are read from the weights. What
they cannot say stands in a config.json beside them, as the authors write it: `vit` and `bert` or `qformer` with
`num_heads` and `num_attention_heads`, the picture's side and the text's length. Where it is silent, a head is 64 wide,
as in every published ViT and BERT but one: EVA's are 88 wide.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.functional import interpolate

from retrieval.errors import BadCheckpoint, BadWeights, UnknownModel
from retrieval.models import hub
from retrieval.models.checkpoints import RETRIEVAL, Family, Role
from retrieval.models.renaming import Renaming
from retrieval.models.weights import State

Kind = Literal["albef", "blip", "blip-caption", "blip-vqa", "blip2"]
"""Which network a file is read for: a pre-training file of BLIP fits two."""

HEAD_WIDTH = 64
EVA_WIDTH, EVA_HEADS = 1408, 16

_FOR_TRAINING = re.compile(r".*_m\..*|.*_queue|queue_ptr|ptr_queue|temp|.*\.position_ids")
_OTHER_HEADS: Mapping[Kind, re.Pattern[str]] = {
    "albef": re.compile(r"text_encoder\.cls\..*"),
    "blip": re.compile(r"text_decoder\..*"),
    "blip-caption": re.compile(r"text_encoder\..*|(vision_proj|text_proj|itm_head)\..*"),
    "blip-vqa": re.compile(r"$^"),
    "blip2": re.compile(r"Qformer\.cls\..*"),
}
# A vision tower in a file of its own brings what its first owner used it for.
_OF_LONE_TOWER = re.compile(r"(norm|fc_norm|head)\..*")

_VISION = (
    ("visual_encoder.cls_token", "vision_model.embeddings.class_embedding"),
    ("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
    ("visual_encoder.patch_embed.proj.", "vision_model.embeddings.patch_embedding."),
    ("visual_encoder.blocks.#.norm", "vision_model.encoder.layers.#.layer_norm"),
    ("visual_encoder.blocks.#.attn.qkv.", "vision_model.encoder.layers.#.self_attn.qkv."),
    ("visual_encoder.blocks.#.attn.proj.", "vision_model.encoder.layers.#.self_attn.projection."),
    ("visual_encoder.blocks.#.mlp.", "vision_model.encoder.layers.#.mlp."),
    ("visual_encoder.norm.", "vision_model.post_layernorm."),
)
_QFORMER = (
    ("ln_vision.", "vision_model.post_layernorm."),
    ("Qformer.bert.embeddings.LayerNorm.", "qformer.layernorm."),
    ("Qformer.bert.embeddings.", "embeddings."),
    ("Qformer.bert.encoder.layer.#.attention.self.", "qformer.encoder.layer.#.attention.attention."),
    ("Qformer.bert.encoder.layer.#.crossattention.self.", "qformer.encoder.layer.#.crossattention.attention."),
    ("Qformer.bert.encoder.", "qformer.encoder."),
    ("vision_proj.", "vision_projection."),
    ("text_proj.", "text_projection."),
)
RENAMED: Mapping[Kind, Renaming] = {
    "albef": Renaming(_VISION),
    "blip": Renaming(_VISION),
    "blip-caption": Renaming(_VISION),
    "blip-vqa": Renaming(_VISION),
    "blip2": Renaming((*_VISION[:-1], *_QFORMER)),
}

_POSITIONS = "visual_encoder.pos_embed"


def is_authors(path: Path) -> bool:
    """Say whether a path is a file of the authors, or a folder that holds such files and no Hugging Face model."""
    return path.is_file() or all(file.suffix in (".pth", ".pt") for file in hub.weight_files(path) or [path])


def describe(path: Path) -> tuple[Family, tuple[Role, ...], int]:
    """Say by the names of its weights what a file is: family, roles, the side of its pictures in pixels."""
    state, stated = _read(path), _stated(path)
    side = _image_size(state, stated, path)
    starts = {key.split(".")[0] for key in state}
    if any(key.startswith("visual_encoder.model.") for key in state):
        raise UnknownModel(str(path), "it holds ALPRO, a family that cannot be run yet")
    if "cls_head" in starts:
        raise UnknownModel(str(path), "it answers questions about two pictures (NLVR), which nothing here asks")
    if "Qformer" in starts:
        if "itm_head" not in starts:
            raise UnknownModel(
                str(path), "its language model is in another file: take the Hugging Face id of this model"
            )
        return "blip2", RETRIEVAL, side
    crossing = _layers(state, r"text_encoder\.(?:bert\.)?encoder\.layer\.(\d+)\.crossattention\.")
    if "itm_head" in starts and crossing:
        if min(crossing):
            return "albef", RETRIEVAL, side
        return "blip", (*RETRIEVAL, "captioner") if "text_decoder" in starts else RETRIEVAL, side
    if "text_decoder" in starts:
        if "text_encoder" not in starts:
            return "blip", ("captioner",), side
        if crossing and not min(crossing):
            return "blip", ("answerer",), side
        raise UnknownModel(str(path), "it answers questions with ALBEF, which cannot be run yet")
    raise UnknownModel(str(path), f"no known model has weights of these names: {', '.join(sorted(starts)[:8])}")


def read_config(path: Path, kind: Kind, state: State) -> dict[str, Any]:
    """Write the configuration that transformers would have had: sizes from the weights, the rest as it is stated.

    `state` is the one that `read_state` gave.
    """
    stated = _stated(path)
    vision, width = _vision_config(state, stated, path), state["vision_model.embeddings.class_embedding"].shape[-1]
    if kind == "blip2":
        return {
            "vision_config": vision,
            "qformer_config": _qformer_config(state, stated.get("qformer") or {}, path)
            | {"encoder_hidden_size": width},
            "num_query_tokens": state["query_tokens"].shape[1],
            "image_text_hidden_size": state["vision_projection.weight"].shape[0],
        }
    prefix = "text_decoder.bert." if kind == "blip-caption" else "text_encoder."
    text = _text_config(state, prefix, _part(stated, "bert", "bert_encoder"), path)
    config: dict[str, Any] = {"vision_config": vision, "text_config": text}
    if "vision_proj.weight" in state:
        config["image_text_hidden_size"] = state["vision_proj.weight"].shape[0]
    return config


def read_state(path: Path, kind: Kind) -> State:
    """Read the weights of a network as float32, under the names that transformers gives them.

    Momentum twins, queues, temperatures and the heads of other tasks are left out; position embeddings are resized to
    the pictures' side where config.json states one; biases of BLIP-2's attention become one.
    """
    stated = _stated(path)
    state = {key: value for key, value in _read(path).items() if not _OTHER_HEADS[kind].fullmatch(key)}
    state = _joined_biases(state)
    if _POSITIONS in state:
        side = _image_size(state, stated, path)
        state[_POSITIONS] = resized_positions(state[_POSITIONS], side // _patch_size(state, path))
    rename = RENAMED[kind].forward
    return {rename(key): _own(value) for key, value in state.items()}


def read_text_length(path: Path, *, authors: int) -> int:
    """How many tokens a text may have: what config.json states of the evaluation, else the authors' number."""
    stated = _stated(path)
    return int(stated.get("eval_text_len") or stated.get("max_text_len") or authors)


def resized_positions(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """Resize position embeddings `[1, 1 + g * g, c]` to `[1, 1 + grid * grid, c]`; the class token's row is kept.

    Bicubic, corners not aligned: salesforce/ALBEF models/vit.py, `interpolate_pos_embed`.
    """
    side = _grid(positions)
    if side == grid:
        return positions
    square = positions[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    square = interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), square.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _read(path: Path) -> State:
    """All weights of a file, or of the files of a folder, under the authors' names; what training needed left out."""
    files = hub.weight_files(path)
    if not files:
        raise BadCheckpoint(path, "it holds no weights")
    state: State = {}
    for file in files:
        part = _with_whole_names(_tensors(file), _part(_stated(path), "vit"))
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise BadCheckpoint(path, f"{file.name} holds weights that another file has, too: {', '.join(twice[:3])}")
        state |= part
    return state


def _tensors(file: Path) -> State:
    try:
        # Mapped, not read: the twins of a training are never touched.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise BadCheckpoint(file, "it holds more than tensors, which is never unpickled") from error
    except Exception as error:  # a damaged pickle raises whatever its damage makes it do
        raise BadCheckpoint(file, f"it cannot be read ({type(error).__name__})") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise BadCheckpoint(file, "it is no dictionary of weights, neither as a whole nor below 'model'")
    # ALBEF's pre-training wraps its text encoder once more; its own loader takes every "bert." out.
    unwrapped = {key.replace("text_encoder.bert.", "text_encoder."): value for key, value in content.items()}
    return {key: value for key, value in unwrapped.items() if not _FOR_TRAINING.fullmatch(key)}


def _with_whole_names(state: State, vit: Mapping[str, Any]) -> State:
    """Put a vision tower that has a file of its own where the whole model has it; more blocks than stated are cut."""
    if "patch_embed.proj.weight" not in state:
        return state
    depth = int(vit.get("depth", len(_layers(state, r"blocks\.(\d+)\."))))
    cut = re.compile(r"blocks\.(\d+)\..*")
    kept = {
        key: value
        for key, value in state.items()
        if not _OF_LONE_TOWER.fullmatch(key) and not ((found := cut.fullmatch(key)) and int(found[1]) >= depth)
    }
    return {f"visual_encoder.{key}": value for key, value in kept.items()}


def _joined_biases(state: State) -> State:
    """EVA's attention has a bias for queries and values and none for keys: transformers keeps the three as one."""
    queries = [key for key in state if key.endswith(".attn.q_bias")]
    joined = dict(state)
    for key in queries:
        stem = key.removesuffix("q_bias")
        if f"{stem}v_bias" in state:
            query, value = joined.pop(key), joined.pop(f"{stem}v_bias")
            joined[f"{stem}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return joined


def _vision_config(state: State, stated: Mapping[str, Any], path: Path) -> dict[str, Any]:
    vit = _part(stated, "vit")
    width = state["vision_model.embeddings.class_embedding"].shape[-1]
    patch = state["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    return {
        "hidden_size": width,
        "intermediate_size": _rows(state, "vision_model.encoder.layers.0.mlp.fc1.weight", path),
        "num_hidden_layers": len(_layers(state, r"vision_model\.encoder\.layers\.(\d+)\.")),
        "num_attention_heads": _heads(vit.get("num_heads"), width, "vit.num_heads", path),
        "image_size": _grid(state["vision_model.embeddings.position_embedding"]) * patch,
        "patch_size": patch,
    }


def _text_config(state: State, prefix: str, bert: Mapping[str, Any], path: Path) -> dict[str, Any]:
    layers = _layers(state, re.escape(prefix) + r"encoder\.layer\.(\d+)\.")
    crossing = _layers(state, re.escape(prefix) + r"encoder\.layer\.(\d+)\.crossattention\.")
    config = _bert_sizes(
        state, f"{prefix}embeddings.", f"{prefix}encoder.layer.0.intermediate.dense.weight", bert, path
    )
    return config | {
        "num_hidden_layers": len(layers),
        "fusion_layer": min(crossing, default=len(layers)),
        "type_vocab_size": bert.get("type_vocab_size", 2),
    }


def _qformer_config(state: State, qformer: Mapping[str, Any], path: Path) -> dict[str, Any]:
    layers = _layers(state, r"qformer\.encoder\.layer\.(\d+)\.")
    crossing = sorted(_layers(state, r"qformer\.encoder\.layer\.(\d+)\.crossattention\."))
    frequency = crossing[1] if len(crossing) > 1 else len(layers)
    inner = "qformer.encoder.layer.0.intermediate_query.dense.weight"
    return _bert_sizes(state, "embeddings.", inner, qformer, path) | {
        "num_hidden_layers": len(layers),
        "cross_attention_frequency": frequency,
    }


def _bert_sizes(state: State, embeddings: str, inner: str, stated: Mapping[str, Any], path: Path) -> dict[str, Any]:
    words = f"{embeddings}word_embeddings.weight"
    rows, width = _rows(state, words, path), state[words].shape[1]
    return {
        "vocab_size": rows,
        "hidden_size": width,
        "intermediate_size": _rows(state, inner, path),
        "max_position_embeddings": _rows(state, f"{embeddings}position_embeddings.weight", path),
        "num_attention_heads": _heads(stated.get("num_attention_heads"), width, "num_attention_heads", path),
    }


def _heads(stated: Any, width: int, name: str, path: Path) -> int:
    """The number of heads, which no weight tells: stated, or as many as every published model of this width has."""
    published = EVA_HEADS if width == EVA_WIDTH else width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else None
    heads = stated or published
    if not isinstance(heads, int) or width % heads:
        raise BadCheckpoint(
            path, f"state {name} in a config.json beside the weights: a width of {width} does not tell it"
        )
    return heads


def _image_size(state: State, stated: Mapping[str, Any], path: Path) -> int:
    vit = _part(stated, "vit")
    patch = _patch_size(state, path)
    side = vit.get("image_size") or vit.get("image_res")
    if side is None:
        if _POSITIONS not in state:
            raise BadWeights(path, missing=[_POSITIONS], unexpected=[], mismatched=[])
        side = _grid(state[_POSITIONS]) * patch
    if not isinstance(side, int) or side % patch:
        raise BadCheckpoint(path, f"vit.image_size is {side!r}, no multiple of the patches' {patch} pixels")
    return side


def _patch_size(state: State, path: Path) -> int:
    key = "visual_encoder.patch_embed.proj.weight"
    _rows(state, key, path)
    return state[key].shape[-1]


def _rows(state: State, key: str, path: Path) -> int:
    if key not in state:
        raise BadWeights(path, missing=[key], unexpected=[], mismatched=[])
    return state[key].shape[0]


def _grid(positions: torch.Tensor) -> int:
    return math.isqrt(positions.shape[1] - 1)


def _layers(state: State, pattern: str) -> set[int]:
    found = (re.match(pattern, key) for key in state)
    return {int(match[1]) for match in found if match}


def _part(stated: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first of some objects that a configuration states."""
    return next((stated[name] for name in names if isinstance(stated.get(name), dict)), {})


def _stated(path: Path) -> Mapping[str, Any]:
    return hub.read_config(path) if path.is_dir() and (path / "config.json").is_file() else {}


def _own(value: torch.Tensor) -> torch.Tensor:
    """A copy apart from the file, which may go away: whole numbers as they are, the rest as float32."""
    return value.to(torch.float32, copy=True) if value.is_floating_point() else value.clone()
