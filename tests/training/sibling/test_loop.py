"""The sibling's training from beginning to end, in a world of two colours."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from retrieval.errors import TrainingDiffers
from retrieval.models.blip2 import Blip2Generator, Blip2Retrieval
from retrieval.training.sibling.loop import SiblingRecipe, train_sibling

CPU = torch.device("cpu")


@pytest.fixture
def recipe(size: Any) -> SiblingRecipe:
    return SiblingRecipe(steps=(3, 2, 2), rates=(1e-3, 1e-3, 1e-3), warmup=2, save_every=1, size=size)


def train(recipe: SiblingRecipe, tower: Path, out: Path, lessons: Any, tokens: list[str], **more: Any) -> bool:
    return train_sibling(recipe, tower, out, lessons=lessons, tokens=tokens, device=CPU, **more)


def losses(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {
        f"{part} {key}": value
        for part in ("itm", "llm")
        for key, value in load_file(out / "models" / part / "model-own.safetensors").items()
    }


def test_a_run_trains_every_stretch_and_writes_two_folders(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    assert train(recipe, tower_folder, tmp_path, lessons, tokens)
    steps = [(line["stretch"], line["step"]) for line in losses(tmp_path)]
    assert steps == [
        (name, n) for name, count in (("qformer", 3), ("language", 2), ("prefix", 2)) for n in range(count)
    ]
    assert all(math.isfinite(value) for line in losses(tmp_path) for value in line.values() if isinstance(value, float))
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"itm", "llm"}


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    assert train(recipe, tower_folder, tmp_path / "whole", lessons, tokens)
    stops = 0
    while not train(recipe, tower_folder, tmp_path / "parts", lessons, tokens, minutes=0):
        stops += 1
    assert stops >= 4  # no time at all is one step a call
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_a_killed_run_did_after_its_last_checkpoint_is_done_again(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    train(recipe, tower_folder, tmp_path / "whole", lessons, tokens)
    train(recipe, tower_folder, tmp_path / "killed", lessons, tokens, minutes=0)
    log = tmp_path / "killed" / "losses.jsonl"
    log.write_text(log.read_text() + json.dumps({"stretch": "qformer", "step": 1, "seconds": 0.0}) + "\n")
    train(recipe, tower_folder, tmp_path / "killed", lessons, tokens)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_a_finished_run_writes_its_models_where_they_shall_stay(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    train(recipe, tower_folder, tmp_path / "run", lessons, tokens)
    trained = losses(tmp_path / "run")
    assert train(recipe, tower_folder, tmp_path / "run", lessons, tokens, models=tmp_path / "a" / "b" / "sibling")
    assert losses(tmp_path / "run") == trained
    folders = (tmp_path / where / "itm" for where in ("run/models", "a/b/sibling"))
    one, other = (Blip2Retrieval.open(folder, name="sibling", device="cpu") for folder in folders)
    assert one.encode_texts(["red left"]).tolist() == other.encode_texts(["red left"]).tolist()


def test_another_seed_is_another_run(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    short = replace(recipe, steps=(1, 0, 0))
    train(short, tower_folder, tmp_path / "one", lessons, tokens)
    train(replace(short, seed=2), tower_folder, tmp_path / "two", lessons, tokens)
    assert losses(tmp_path / "one") != losses(tmp_path / "two")


def test_batches_drawn_by_other_processes_are_the_same(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    short = replace(recipe, steps=(3, 0, 0))
    train(short, tower_folder, tmp_path / "one", lessons, tokens)
    train(short, tower_folder, tmp_path / "two", lessons, tokens, workers=1)
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_the_sibling_learns_to_find_and_to_tell_what_it_sees(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    learning = replace(recipe, steps=(120, 40, 120), rates=(3e-3, 3e-3, 3e-3), warmup=10, save_every=500)
    train(learning, tower_folder, tmp_path, replace(lessons, count=16), tokens)
    model = Blip2Retrieval.open(tmp_path / "models" / "itm", name="sibling", device="cpu")
    batch = replace(lessons, count=30).captioned(1000)
    looked = model.look(batch.pixels)
    rows = np.stack([np.arange(30), np.arange(30)], axis=1)
    right = model.match(looked.numpy(), list(batch.pairs.texts[:30]), rows)
    wrong = model.match(looked.numpy(), list(batch.pairs.texts[30:]), rows)
    assert np.mean(right[:, 1] - right[:, 0] > wrong[:, 1] - wrong[:, 0]) > 0.9  # left and right are told apart
    teller = Blip2Generator.open(tmp_path / "models" / "llm", name="sibling", device="cpu")
    said = teller.go_on(teller.look(batch.pixels), "a photo of", {"num_beams": 1, "max_new_tokens": 6})
    assert np.mean([one == wanted for one, wanted in zip(said, batch.captions, strict=True)]) > 0.8


def test_half_precision_computes_the_same_losses_roughly(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    short = replace(recipe, steps=(1, 1, 1))
    train(short, tower_folder, tmp_path / "whole", lessons, tokens)
    train(replace(short, half=True), tower_folder, tmp_path / "half", lessons, tokens)
    assert losses(tmp_path / "whole") != losses(tmp_path / "half")
    for one, other in zip(losses(tmp_path / "whole"), losses(tmp_path / "half"), strict=True):
        for name in one.keys() - {"stretch", "step"}:
            assert one[name] == pytest.approx(other[name], rel=0.05)


@pytest.mark.parametrize("what", ["half", "size", "lessons", "tower"])
def test_a_run_of_another_recipe_is_refused_by_the_name_of_what_differs(
    recipe: SiblingRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str], what: str
) -> None:
    train(recipe, tower_folder, tmp_path / "run", lessons, tokens, minutes=0)
    other = shutil.copytree(tower_folder, tmp_path / "parent")
    file = other / "tower" / "model.safetensors"
    save_file({name: -weight for name, weight in load_file(file).items()}, file)
    changed = {
        "half": (replace(recipe, half=True), tower_folder, lessons),
        "size": (replace(recipe, size=replace(recipe.size, embedding=8)), tower_folder, lessons),
        "lessons": (recipe, tower_folder, replace(lessons, count=7)),
        "tower": (recipe, other, lessons),
    }
    now, tower, taught = changed[what]
    with pytest.raises(TrainingDiffers, match=rf"\({what}"):
        train(now, tower, tmp_path / "run", taught, tokens)
