"""Five folders of two checkpoints, one vision tower on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)

from retrieval.models import weights
from retrieval.models.load import load_answerer, load_captioner, load_encoder
from retrieval.models.resolve import resolve
from retrieval.training.blip import Models, Size, fresh_models, inherit_matcher, open_models, save_models
from retrieval.training.sibling.models import SiblingSize, fresh_sibling, save_sibling
from retrieval.training.tower import PREFIX, Tower

WORDS = ["a", "picture", "photo", "of", "red", "car", "what", "?"]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "[DEC]", "[ENC]"]
TINY = Size(resolution=32, patch=16, width=16, heads=2, vision_layers=1, text_layers=1, embedding=8)
SMALL = SiblingSize(queries=3, width=16, heads=2, layers=2, inner=32, embedding=8, language_width=16, language_heads=2)
FOLDERS: dict[str, Any] = {
    "parent/itm": BlipForImageTextRetrieval,
    "parent/caption": BlipForConditionalGeneration,
    "parent/vqa": BlipForQuestionAnswering,
    "sibling/itm": Blip2ForImageTextRetrieval,
    "sibling/llm": Blip2ForConditionalGeneration,
}


@pytest.fixture
def models() -> Models:
    made = fresh_models(TINY, TOKENS, seed=1)
    inherit_matcher(made.caption, made.itm)
    inherit_matcher(made.vqa, made.itm)
    return made


@pytest.fixture
def root(models: Models, tmp_path: Path) -> Path:
    """A checkpoint and its sibling, as they are bundled."""
    save_models(models, tmp_path / "parent")
    tower = Tower.open(tmp_path / "parent")
    save_sibling(fresh_sibling(tower, SMALL, TOKENS, seed=1), tmp_path / "sibling", tower=tower.file)
    return tmp_path


def test_the_bytes_of_the_tower_are_on_disk_once(root: Path) -> None:
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.safetensors"))
    assert files == sorted(
        [*(f"{folder}/model-own.safetensors" for folder in FOLDERS), "parent/tower/model.safetensors"]
    )
    holding = [file for file in files if any(key.startswith(PREFIX) for key in load_file(root / file))]
    assert holding == ["parent/tower/model.safetensors"]


def test_transformers_opens_each_of_the_five_folders(root: Path) -> None:
    tower = load_file(root / "parent" / "tower" / "model.safetensors")
    for folder, kind in FOLDERS.items():
        model, report = kind.from_pretrained(root / folder, dtype=torch.float32, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        state = model.state_dict()
        assert all(torch.equal(state[key], value.float()) for key, value in tower.items())


def test_an_index_names_files_relative_to_its_folder_with_slashes(root: Path) -> None:
    for folder in FOLDERS:
        index = json.loads((root / folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        there = "../tower/model.safetensors" if folder.startswith("parent") else "../../parent/tower/model.safetensors"
        assert set(index["weight_map"].values()) == {there, "model-own.safetensors"}


def test_the_five_folders_play_all_roles_wherever_they_are_moved_together(root: Path) -> None:
    shutil.move(root, root.parent / "elsewhere")
    pixels = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    for folder in ("parent", "sibling"):
        checkpoint = resolve(str(root.parent / "elsewhere" / folder))
        assert load_encoder(checkpoint, device="cpu", offline=True).encode_images(pixels).shape[2] == 8
        assert len(load_captioner(checkpoint, device="cpu", offline=True).caption(pixels)) == 1
        assert len(load_answerer(checkpoint, device="cpu", offline=True).answer(pixels, "what?")) == 1


def test_saving_again_over_an_older_checkpoint_leaves_nothing_of_it(root: Path, models: Models) -> None:
    for weight in models.itm.vision_model.parameters():
        torch.nn.init.normal_(weight)
    save_models(models, root / "parent")  # now the captioner and the answerer have another tower than the matcher
    opened = open_models(root / "parent")
    key = f"{PREFIX}embeddings.position_embedding"
    for name, model in models.by_name().items():
        assert torch.equal(opened.by_name()[name].state_dict()[key], model.state_dict()[key].half().float())
    assert sorted(file.name for file in (root / "parent" / "caption").glob("model*")) == ["model.safetensors"]
    assert torch.equal(weights.read_state(root / "parent" / "itm")[key], models.itm.state_dict()[key].half().float())
