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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.functional import interpolate

from retrieval.errors import BadCheckpoint, BadWeights, UnknownModel
from retrieval.models import hub
from retrieval.models.checkpoints import RETRIEVAL, Family, Role, Scoring
from retrieval.models.renaming import Renaming
from retrieval.models.vocabulary import LEAST_LENGTH
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


@dataclass(frozen=True)
class Description:
    """What a file is by the names of its weights; `image_size` in pixels, `text_length` in ids."""

    family: Family
    roles: tuple[Role, ...]
    image_size: int
    text_length: int
    protocol: Scoring


def describe(path: Path) -> Description:
    """Say by the names of its weights, and by what is stated beside them, what a file is."""
    state = _read(path)
    family, roles = _kind(path, state)
    side = _image_size(state, _stated(path), path)
    is_of_lavis = _part(_stated(path), "bert").get("type_vocab_size") == 0
    by_logit = family == "albef" and not is_of_lavis
    length = read_text_length(path, authors=30 if by_logit else 35)
    return Description(family, roles, side, length, "itm" if by_logit else "itm+itc")


def _kind(path: Path, state: State) -> tuple[Family, tuple[Role, ...]]:
    starts = {key.split(".")[0] for key in state}
    if any(key.startswith("visual_encoder.model.") for key in state):
        raise UnknownModel(str(path), "it holds ALPRO, which reads videos and is not built yet")
    if "cls_head" in starts:
        raise UnknownModel(str(path), "it answers questions about two pictures (NLVR), which nothing here asks")
    if "Qformer" in starts:
        if "itm_head" not in starts:
            raise UnknownModel(
                str(path), "a language model belongs to it: such models run from Hugging Face folders, with an OPT"
            )
        return "blip2", RETRIEVAL
    crossing = _layers(state, r"text_encoder\.(?:bert\.)?encoder\.layer\.(\d+)\.crossattention\.")
    has_types = "text_encoder.embeddings.token_type_embeddings.weight" in state
    if "itm_head" in starts and (crossing or has_types):
        if has_types or min(crossing):
            return "albef", RETRIEVAL
        return "blip", ((*RETRIEVAL, "captioner") if "text_decoder" in starts else RETRIEVAL)
    if "text_decoder" in starts:
        if "text_encoder" not in starts:
            return "blip", ("captioner",)
        if crossing and not min(crossing):
            return "blip", ("answerer",)
        raise UnknownModel(str(path), "it answers questions with ALBEF, which cannot be run yet")
    raise UnknownModel(str(path), f"no known model has weights of these names: {', '.join(sorted(starts)[:8])}")


def read_config(path: Path, kind: Kind, state: State) -> dict[str, Any]:
    """Write the configuration that transformers would have had: sizes from the weights, counts as they are stated.

    `state` is the one that `read_state` gave. A count of layers that config.json states is believed, so that a layer
    which is not there is missing; where nothing is stated, the layers that are there count.
    """
    sizes, stated = _Sizes(path, kind, state), _stated(path)
    config: dict[str, Any] = {"vision_config": _vision_config(sizes, _part(stated, "vit"))}
    if kind == "blip2":
        config["qformer_config"] = _qformer_config(sizes, _part(stated, "qformer"))
        config["num_query_tokens"] = sizes.of("query_tokens", 1)
        config["image_text_hidden_size"] = sizes.of("vision_projection.weight", 0)
        return config
    prefix = "text_decoder.bert." if kind == "blip-caption" else "text_encoder."
    config["text_config"] = _text_config(sizes, prefix, _part(stated, "bert", "bert_encoder"))
    if kind in ("albef", "blip"):
        config["image_text_hidden_size"] = sizes.of("vision_proj.weight", 0)
    return config


def read_state(path: Path, kind: Kind) -> State:
    """Read the weights of a network as float32, under the names that transformers gives them.

    Momentum twins, queues, temperatures and the heads of other tasks are left out; position embeddings are resized to
    the pictures' side where config.json states one; biases of BLIP-2's attention become one.
    """
    stated = _stated(path)
    state = {key: value for key, value in _read(path).items() if not _OTHER_HEADS[kind].fullmatch(key)}
    if kind == "blip2":
        state = _joined_biases(state, path)
    side = _image_size(state, stated, path)
    state[_POSITIONS] = resized_positions(state[_POSITIONS], side // _patch_size(state, path))
    rename = RENAMED[kind].forward
    renamed = {rename(key): _own(value) for key, value in state.items()}
    if len(renamed) < len(state):
        strange = sorted(key for key in state if rename(key) == key and RENAMED[kind].back(key) != key)
        raise BadWeights(path, missing=[], unexpected=strange, mismatched=[])
    return renamed


def read_text_length(path: Path, *, authors: int) -> int:
    """How many tokens a text may have: what config.json states of the evaluation, else the authors' number."""
    stated = _stated(path)
    length = stated.get("eval_text_len", stated.get("max_text_len", authors))
    if isinstance(length, bool) or not isinstance(length, int) or length < LEAST_LENGTH:
        raise BadCheckpoint(path, f"max_text_len is {length!r}, no number of ids from {LEAST_LENGTH} on")
    return length


def resized_positions(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """Resize position embeddings `[1, 1 + g * g, c]` to `[1, 1 + grid * grid, c]`; the class token's row is kept.

    Bicubic, corners not aligned: salesforce/ALBEF models/vit.py, `interpolate_pos_embed`.
    """
    side = math.isqrt(positions.shape[1] - 1)
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
        raise BadCheckpoint(file, "it is damaged, or holds more than tensors, which is never unpickled") from error
    except EOFError as error:
        raise BadCheckpoint(file, "it is empty") from error
    except Exception as error:  # a damaged pickle raises whatever its damage makes it do
        raise BadCheckpoint(file, f"it is damaged, or no file of torch ({type(error).__name__})") from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise BadCheckpoint(file, "it is no dictionary of weights, neither as a whole nor below 'model'")
    # ALBEF's pre-training wraps its text encoder once more; its own loader takes every "bert." out.
    unwrapped = {key.replace("text_encoder.bert.", "text_encoder."): value for key, value in content.items()}
    if len(unwrapped) < len(content):
        twice = [key for key in content if key.replace("text_encoder.bert.", "text_encoder.") in content.keys() - {key}]
        raise BadWeights(file, missing=[], unexpected=twice, mismatched=[])
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


def _joined_biases(state: State, path: Path) -> State:
    """EVA's attention has a bias for queries and values and none for keys: transformers keeps the three as one."""
    joined, missing, mismatched = dict(state), [], []
    for stem in [key.removesuffix("qkv.weight") for key in state if key.endswith(".attn.qkv.weight")]:
        width = state[f"{stem}qkv.weight"].shape[0] // 3
        parts = {name: joined.pop(name, None) for name in (f"{stem}q_bias", f"{stem}v_bias")}
        missing += [name for name, part in parts.items() if part is None]
        mismatched += [
            f"{name} {list(part.shape)} instead of {[width]}"
            for name, part in parts.items()
            if part is not None and list(part.shape) != [width]
        ]
        query, value = (torch.zeros(width) if part is None else part for part in parts.values())
        joined[f"{stem}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    if missing or mismatched:
        raise BadWeights(path, missing=missing, unexpected=[], mismatched=mismatched)
    return joined


@dataclass(frozen=True)
class _Sizes:
    """The sizes of weights under transformers' names; what is not there is named as the file would."""

    path: Path
    kind: Kind
    state: State

    def of(self, key: str, dimension: int) -> int:
        """One dimension of a weight."""
        if key not in self.state:
            raise BadWeights(self.path, missing=[RENAMED[self.kind].back(key)], unexpected=[], mismatched=[])
        return self.state[key].shape[dimension]

    def layers(self, pattern: str) -> list[int]:
        """The numbers of layers that have weights of some name, in order."""
        return sorted(_layers(self.state, pattern))

    def heads(self, stated: Any, width: int, name: str) -> int:
        """The number of heads, which no weight tells: stated, or as many as every published model of a width has."""
        published = EVA_HEADS if width == EVA_WIDTH else width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else None
        heads = published if stated is None else stated
        if heads is None:
            said = f"a width of {width} does not tell how many heads there are: state {name} in a config.json beside it"
            raise BadCheckpoint(self.path, said)
        if not isinstance(heads, int) or heads < 1 or width % heads:
            raise BadCheckpoint(self.path, f"{name} is {heads!r}, no whole number that divides the width {width}")
        return heads


def _vision_config(sizes: _Sizes, vit: Mapping[str, Any]) -> dict[str, Any]:
    embeddings, layers = "vision_model.embeddings.", "vision_model.encoder.layers."
    width = sizes.of(f"{embeddings}class_embedding", -1)
    patch = sizes.of(f"{embeddings}patch_embedding.weight", -1)
    return {
        "hidden_size": width,
        "intermediate_size": sizes.of(f"{layers}0.mlp.fc1.weight", 0),
        "num_hidden_layers": vit.get("depth", len(sizes.layers(re.escape(layers) + r"(\d+)\."))),
        "num_attention_heads": sizes.heads(vit.get("num_heads"), width, "vit.num_heads"),
        "image_size": math.isqrt(sizes.of(f"{embeddings}position_embedding", 1) - 1) * patch,
        "patch_size": patch,
    }


def _text_config(sizes: _Sizes, prefix: str, bert: Mapping[str, Any]) -> dict[str, Any]:
    layer = re.escape(prefix) + r"encoder\.layer\.(\d+)\."
    layers, crossing = sizes.layers(layer), sizes.layers(layer + r"crossattention\.")
    types = f"{prefix}embeddings.token_type_embeddings.weight"
    has_types = bert.get("type_vocab_size") != 0 and types in sizes.state
    return {
        **_bert_sizes(sizes, f"{prefix}embeddings.", f"{prefix}encoder.layer.0.intermediate.dense.weight", bert),
        "num_hidden_layers": bert.get("num_hidden_layers", len(layers)),
        "fusion_layer": bert.get("fusion_layer", min(crossing, default=len(layers))),
        "type_vocab_size": sizes.of(types, 0) if has_types else bert.get("type_vocab_size", 2),
    }


def _qformer_config(sizes: _Sizes, qformer: Mapping[str, Any]) -> dict[str, Any]:
    layers = sizes.layers(r"qformer\.encoder\.layer\.(\d+)\.")
    crossing = sizes.layers(r"qformer\.encoder\.layer\.(\d+)\.crossattention\.")
    frequency = crossing[1] if len(crossing) > 1 else len(layers)
    return {
        **_bert_sizes(sizes, "embeddings.", "qformer.encoder.layer.0.intermediate_query.dense.weight", qformer),
        "num_hidden_layers": qformer.get("num_hidden_layers", len(layers)),
        "cross_attention_frequency": qformer.get("cross_attention_freq", frequency),
    }


def _bert_sizes(sizes: _Sizes, embeddings: str, inner: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    width = sizes.of(f"{embeddings}word_embeddings.weight", 1)
    return {
        "vocab_size": sizes.of(f"{embeddings}word_embeddings.weight", 0),
        "hidden_size": width,
        "intermediate_size": sizes.of(inner, 0),
        "max_position_embeddings": sizes.of(f"{embeddings}position_embeddings.weight", 0),
        "num_attention_heads": sizes.heads(stated.get("num_attention_heads"), width, "num_attention_heads"),
    }


def _image_size(state: State, stated: Mapping[str, Any], path: Path) -> int:
    """The side of the pictures in pixels: stated, or that of the file's position embeddings."""
    vit = _part(stated, "vit")
    patch = _patch_size(state, path)
    rows = _required(state, _POSITIONS, path).shape[1] - 1
    if math.isqrt(rows) ** 2 != rows:
        shape = list(state[_POSITIONS].shape)
        raise BadWeights(path, missing=[], unexpected=[], mismatched=[f"{_POSITIONS} {shape}, no square and one more"])
    side = vit.get("image_size", vit.get("image_res", math.isqrt(rows) * patch))
    if isinstance(side, bool) or not isinstance(side, int) or side < patch or side % patch:
        raise BadCheckpoint(path, f"vit.image_size is {side!r}, no multiple of the patches' {patch} pixels")
    return side


def _patch_size(state: State, path: Path) -> int:
    return _required(state, "visual_encoder.patch_embed.proj.weight", path).shape[-1]


def _required(state: State, key: str, path: Path) -> torch.Tensor:
    if key not in state:
        raise BadWeights(path, missing=[key], unexpected=[], mismatched=[])
    return state[key]


def _layers(state: State, pattern: str) -> set[int]:
    found = (re.match(pattern, key) for key in state)
    return {int(match[1]) for match in found if match}


def _part(stated: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The first of some objects that a configuration states."""
    return next((stated[name] for name in names if isinstance(stated.get(name), dict)), {})


def _stated(path: Path) -> Mapping[str, Any]:
    """What the config.json of a folder says, or the one beside a file: nothing where there is none."""
    folder = path if path.is_dir() else path.parent
    stated = hub.read_config(folder) if (folder / "config.json").is_file() else {}
    return {} if "architectures" in stated else stated


def _own(value: torch.Tensor) -> torch.Tensor:
    """A copy apart from the file, which may go away: whole numbers as they are, the rest as float32."""
    return value.to(torch.float32, copy=True) if value.is_floating_point() else value.clone()
