"""The training of an ALBEF from beginning to end, in a world of two colours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from retrieval.errors import TrainingDiffers
from retrieval.models.albef import AlbefRetrieval
from retrieval.training.albef.loop import AlbefRecipe, train_albef

CPU = torch.device("cpu")


@pytest.fixture
def recipe(size: Any) -> AlbefRecipe:
    return AlbefRecipe(steps=3, warmup=2, save_every=1, size=size)


def train(recipe: AlbefRecipe, tower: Path, out: Path, lessons: Any, tokens: list[str], **more: Any) -> bool:
    return train_albef(recipe, tower, out, lessons=lessons, tokens=tokens, device=CPU, **more)


def losses(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "models" / "itm" / "model-own.safetensors")


def test_the_same_seed_gives_the_same_first_step_and_another_seed_another(
    recipe: AlbefRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        train(replace(recipe, seed=seed), tower_folder, tmp_path / name, lessons, tokens, minutes=0)
    one, two, other = (losses(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert [line["step"] for line in one] == [0]
    assert one != other


def test_a_stopped_run_goes_on_and_ends_where_an_unstopped_one_does(
    recipe: AlbefRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    assert train(recipe, tower_folder, tmp_path / "whole", lessons, tokens)
    stops = 0
    while not train(recipe, tower_folder, tmp_path / "parts", lessons, tokens, minutes=0):
        stops += 1
    assert stops == 2  # no time at all is one step a call
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_finished_run_writes_its_folder_where_it_shall_stay(
    recipe: AlbefRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    train(recipe, tower_folder, tmp_path / "run", lessons, tokens)
    trained = losses(tmp_path / "run")
    assert train(recipe, tower_folder, tmp_path / "run", lessons, tokens, models=tmp_path / "a" / "b" / "albef")
    assert losses(tmp_path / "run") == trained
    folders = (tmp_path / where / "itm" for where in ("run/models", "a/b/albef"))
    one, other = (AlbefRetrieval.open(folder, name="albef", device="cpu") for folder in folders)
    assert one.encode_texts(["red left"]).tolist() == other.encode_texts(["red left"]).tolist()


def test_a_run_of_another_recipe_is_refused(
    recipe: AlbefRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    train(recipe, tower_folder, tmp_path, lessons, tokens, minutes=0)
    with pytest.raises(TrainingDiffers, match=r"\(size embedding"):
        train(replace(recipe, size=replace(recipe.size, embedding=8)), tower_folder, tmp_path, lessons, tokens)


def test_an_albef_learns_to_tell_left_from_right(
    recipe: AlbefRecipe, tower_folder: Path, tmp_path: Path, lessons: Any, tokens: list[str]
) -> None:
    learning = replace(recipe, steps=100, rate=3e-3, warmup=10, save_every=500)
    train(learning, tower_folder, tmp_path, replace(lessons, count=16), tokens)
    model = AlbefRetrieval.open(tmp_path / "models" / "itm", name="albef", device="cpu")
    batch = replace(lessons, count=30).captioned(1000)
    looked = model.look(batch.pixels)
    rows = np.stack([np.arange(30), np.arange(30)], axis=1)
    right = model.match(looked.numpy(), list(batch.pairs.texts[:30]), rows)
    wrong = model.match(looked.numpy(), list(batch.pairs.texts[30:]), rows)
    assert np.mean(right[:, 1] - right[:, 0] > wrong[:, 1] - wrong[:, 0]) > 0.9
