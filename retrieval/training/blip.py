"""Fresh BLIP models in the size of postcards, and the three folders that they are saved in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)

from retrieval.models.weights import fill, read_state
from retrieval.training.folders import write_preprocessing, write_vocabulary
from retrieval.training.tower import save_tower, share_tower
from retrieval.training.world.vocabulary import MAX_TOKENS, tokenizer

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
PROMPT = "a picture of"


@dataclass(frozen=True)
class Size:
    """How large a model is: pictures of `resolution` cut into patches, one width for pictures and texts."""

    resolution: int = 144
    patch: int = 48
    width: int = 128
    heads: int = 4
    vision_layers: int = 6
    text_layers: int = 4
    embedding: int = 128


@dataclass(frozen=True)
class Models:
    """The three models of a checkpoint (matching, captions and answers) and their vocabulary."""

    itm: Any
    caption: Any
    vqa: Any
    tokens: Sequence[str]

    def by_name(self) -> dict[str, Any]:
        """The models under the names of their folders."""
        return {"itm": self.itm, "caption": self.caption, "vqa": self.vqa}


def fresh_models(size: Size, tokens: Sequence[str], *, seed: int) -> Models:
    """Three models with random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Models(
            BlipForImageTextRetrieval(_config(size, tokens)),
            BlipForConditionalGeneration(_config(size, tokens)),
            BlipForQuestionAnswering(_config(size, tokens)),
            tokens,
        )


def inherit_start(itm: Any, folder: Path) -> None:
    """Start a matcher from that of a folder of models; raises BadCheckpoint or BadWeights where none fits."""
    fill(itm, read_state(folder / "itm"), folder=folder / "itm", ties={})


def inherit_matcher(model: Any, itm: Any) -> None:
    """Start a captioner or an answerer from the matcher: its vision tower, and its text layers in every text stack."""
    weights = itm.state_dict()
    renamed = {name.replace("text_encoder.", "text_decoder.bert."): value for name, value in weights.items()}
    known = model.state_dict()
    model.load_state_dict({name: w for name, w in {**weights, **renamed}.items() if name in known}, strict=False)


def save_models(models: Models, folder: Path) -> None:
    """Write the folders itm, caption and vqa: weights in float16, configuration, tokenizer and preprocessing.

    The matcher's vision tower goes into tower/, for itself and for whoever has the same.
    """
    for name, model in models.by_name().items():
        save_model(model, models.tokens, folder / name)
    tower = folder / "tower" / "model.safetensors"
    save_tower(folder / "itm", tower)
    for name in models.by_name():
        share_tower(folder / name, tower)


# Greedy, as the models are measured; the captioner's lengths count the prompt.
_GENERATION = {
    BlipForConditionalGeneration: {"num_beams": 1, "max_length": MAX_TOKENS, "min_length": 5},
    BlipForQuestionAnswering: {"num_beams": 1, "max_length": 10, "min_length": 1},
}


def save_model(model: Any, tokens: Sequence[str], folder: Path) -> None:
    """Write one folder in Hugging Face format."""
    folder.mkdir(parents=True, exist_ok=True)
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    if half.can_generate():
        half.generation_config.update(**_GENERATION[type(model)])
    half.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    write_vocabulary(folder, tokens)
    tokenizer(tokens).save_pretrained(folder)
    write_preprocessing(folder, model.config.vision_config.image_size, processor_class="BlipProcessor")


def open_models(folder: Path) -> Models:
    """Read the three folders back, in float32."""
    return Models(
        BlipForImageTextRetrieval.from_pretrained(folder / "itm", dtype=torch.float32).eval(),
        BlipForConditionalGeneration.from_pretrained(folder / "caption", dtype=torch.float32).eval(),
        BlipForQuestionAnswering.from_pretrained(folder / "vqa", dtype=torch.float32).eval(),
        (folder / "itm" / "vocab.txt").read_text(encoding="utf-8").split(),
    )


def _config(size: Size, tokens: Sequence[str]) -> BlipConfig:
    ids = {token: number for number, token in enumerate(tokens)}
    text = {
        "vocab_size": len(tokens),
        "hidden_size": size.width,
        "encoder_hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "projection_dim": size.embedding,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.heads,
        "max_position_embeddings": MAX_TOKENS,
        "layer_norm_eps": 1e-12,
        "bos_token_id": ids["[DEC]"],
        "eos_token_id": ids["[SEP]"],
        "sep_token_id": ids["[SEP]"],
        "pad_token_id": ids["[PAD]"],
    }
    vision = {
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "projection_dim": size.embedding,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.heads,
        "image_size": size.resolution,
        "patch_size": size.patch,
        "layer_norm_eps": 1e-6,
        "initializer_range": 0.02,
    }
    return BlipConfig(
        text_config=text, vision_config=vision, projection_dim=size.embedding, image_text_hidden_size=size.embedding
    )
