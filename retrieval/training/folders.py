"""The small files of a model's folder in Hugging Face's format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a configuration."""
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def write_vocabulary(folder: Path, tokens: Sequence[str]) -> None:
    """Write a WordPiece list."""
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8", newline="\n")


def write_preprocessing(folder: Path, side: int, **more: Any) -> None:
    """Say what a picture goes through, for pictures of `side` pixels each way; `more` is said besides."""
    preprocessing = {
        "image_processor_type": "BlipImageProcessor",
        **more,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "do_convert_rgb": True,
    }
    write_json(folder / "preprocessor_config.json", preprocessing)
