"""A vision tower that is stored once: folders of models share its file, named in their safetensors index.

An index (model.safetensors.index.json) names the file of every weight, relative to its own folder. Ours names a file
of another folder for the tower, which transformers and `retrieval.models.weights` both follow. The names of BLIP's and
BLIP-2's towers are the same in transformers, and so are their outputs: BLIP's bias on the keys, which BLIP-2 has not,
adds the same to a whole row of a softmax.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from retrieval.models import hub
from retrieval.models.network import VISION_SIZES, pick

PREFIX = "vision_model."
OWN_WEIGHTS = "model-own.safetensors"

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Tower:
    """A trained vision tower: its configuration, its weights, and the file that holds them and nothing else."""

    config: Mapping[str, Any]
    state: State
    file: Path

    @classmethod
    def open(cls, folder: Path) -> Tower:
        """Read the tower of a folder as `retrieval.training.blip.save_models` writes it: itm/ and tower/."""
        stated = hub.read_config(folder / "itm")["vision_config"]
        file = folder / "tower" / "model.safetensors"
        return cls(pick(stated, VISION_SIZES), {key: value.float() for key, value in load_file(file).items()}, file)


def save_tower(folder: Path, file: Path) -> None:
    """Write the tower of a folder that holds a model.safetensors into a file of its own, as it is stored there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _save(_tower(load_file(folder / "model.safetensors")), file)


def share_tower(folder: Path, file: Path) -> bool:
    """Let a folder that holds a model.safetensors read its tower from `file`: whether it does.

    A folder whose tower differs from the file's in any weight keeps its own, and everything in one file.
    """
    whole = load_file(folder / "model.safetensors")
    tower, shared = _tower(whole), load_file(file)
    index = folder / "model.safetensors.index.json"
    if tower.keys() != shared.keys() or not all(torch.equal(tower[key], shared[key]) for key in tower):
        for left_over in (index, folder / OWN_WEIGHTS):
            left_over.unlink(missing_ok=True)
        return False
    own = {key: value for key, value in whole.items() if key not in tower}
    _save(own, folder / OWN_WEIGHTS)
    there = Path(os.path.relpath(file, folder)).as_posix()
    places = {**dict.fromkeys(own, OWN_WEIGHTS), **dict.fromkeys(tower, there)}
    size = sum(value.numel() * value.element_size() for value in whole.values())
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}, indent=2)
    index.write_text(text + "\n", encoding="utf-8", newline="\n")
    (folder / "model.safetensors").unlink()
    return True


def _tower(state: State) -> State:
    return {key: value for key, value in state.items() if key.startswith(PREFIX)}


def _save(state: State, file: Path) -> None:
    save_file(state, file, metadata={"format": "pt"})
    file.chmod(0o644)
