from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.errors import BadWeights, TrainingDiffers
from retrieval.training.blip import Size, open_models
from retrieval.training.pretraining.__main__ import main
from retrieval.training.pretraining.loop import PHASES, Recipe, train

CPU = torch.device("cpu")
TINY = Size(resolution=24, patch=8, width=16, heads=2, vision_layers=1, text_layers=3, embedding=8)
RECIPE = Recipe(batches=(4, 4, 4, 4), steps=(2, 4, 2, 2), itc_alone=0.5, warmup=2, save_every=1, size=TINY)


def losses(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name} {key}": value
        for name, model in open_models(out / "models").by_name().items()
        for key, value in model.state_dict().items()
    }


def test_a_run_trains_every_phase_and_writes_three_folders(tmp_path: Path) -> None:
    assert train(RECIPE, tmp_path, device=CPU)
    found = losses(tmp_path)
    wanted = [(phase, step) for phase, steps in zip(PHASES, RECIPE.steps, strict=True) for step in range(steps)]
    assert [(line["stretch"], line["step"]) for line in found] == wanted
    assert [line["step"] for line in found if "itm" in line] == [2, 3]
    assert all(math.isfinite(value) for line in found for value in line.values() if isinstance(value, float))


@pytest.mark.stress
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    assert train(RECIPE, tmp_path / "whole", device=CPU)
    stops = 0
    while not train(RECIPE, tmp_path / "parts", device=CPU, minutes=0):
        stops += 1
    assert stops >= 6  # no time at all is one step a call
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_a_killed_run_did_after_its_last_checkpoint_is_done_again(tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "whole", device=CPU)
    train(RECIPE, tmp_path / "killed", device=CPU, minutes=0)
    log = tmp_path / "killed" / "losses.jsonl"
    log.write_text(log.read_text() + json.dumps({"stretch": "see", "step": 1, "seconds": 0.0}) + "\n")
    train(RECIPE, tmp_path / "killed", device=CPU)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_a_run_can_begin_with_the_matcher_of_another(tmp_path: Path) -> None:
    train(replace(RECIPE, steps=(0, 2, 0, 0)), tmp_path / "one", device=CPU)
    still = replace(RECIPE, seed=2, steps=(0, 1, 0, 0), rates=(0.0, 0.0, 0.0, 0.0))
    train(still, tmp_path / "two", device=CPU, start=tmp_path / "one" / "models")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    # The models are kept in half precision, so a round trip loses what that loses.
    assert all(torch.equal(one[name].half(), two[name].half()) for name in one if name.startswith("itm "))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batches": (4, 4, 8, 4)}, "batches (4, 4, 4, 4) there, (4, 4, 8, 4) here"),
        ({"half": True}, "half False there, True here"),
        ({"itc_alone": 0.0}, "itc_alone 0.5 there, 0.0 here"),
        ({"size": replace(TINY, embedding=4)}, "size embedding 8 there, 4 here"),
    ],
)
def test_a_run_of_another_recipe_is_refused_by_the_name_of_what_differs(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    train(RECIPE, tmp_path, device=CPU, minutes=0)
    with pytest.raises(TrainingDiffers) as raised:
        train(replace(RECIPE, **changes), tmp_path, device=CPU)
    assert f"({said})" in str(raised.value)


def test_a_run_of_another_start_is_refused(tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "one", device=CPU, minutes=0)
    train(RECIPE, tmp_path / "two", device=CPU, minutes=0)
    with pytest.raises(TrainingDiffers, match=r"\(start None there, "):
        train(RECIPE, tmp_path / "two", device=CPU, start=tmp_path / "one" / "models")


@pytest.mark.timeout(30)
def test_a_start_that_is_not_there_is_one_line_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nowhere/itm cannot be used: it holds no weights") as raised:
        main(["--out", str(tmp_path / "out"), "--start", "nowhere", "--device", "cpu"])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_start_of_another_size_is_one_line(tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "one", device=CPU, minutes=0)
    larger = replace(RECIPE, size=replace(TINY, width=32))
    with pytest.raises(BadWeights, match="of another shape") as raised:
        train(larger, tmp_path / "two", device=CPU, start=tmp_path / "one" / "models")
    assert "\n" not in str(raised.value)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=(1, 0, 0, 0))
    train(recipe, tmp_path / "one", device=CPU)
    train(replace(recipe, seed=2), tmp_path / "two", device=CPU)
    assert losses(tmp_path / "one") != losses(tmp_path / "two")


def test_the_losses_fall(tmp_path: Path) -> None:
    train(replace(RECIPE, steps=(40, 0, 0, 0), rates=(5e-3, 0.0, 0.0, 0.0)), tmp_path, device=CPU)
    fall = [line["air"] for line in losses(tmp_path)]
    assert sum(fall[-5:]) < 0.8 * sum(fall[:5])


def test_captions_and_answers_start_from_the_matchers_weights(tmp_path: Path) -> None:
    train(replace(RECIPE, steps=(0, 2, 1, 1), rates=(0.0, 1e-3, 0.0, 0.0)), tmp_path, device=CPU)
    found = weights(tmp_path)
    for model in ("caption", "vqa"):
        for name in [key.removeprefix("itm ") for key in found if key.startswith("itm vision_model.")]:
            assert torch.equal(found[f"itm {name}"], found[f"{model} {name}"])
    layer = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(found[f"itm text_encoder.{layer}"], found[f"caption text_decoder.bert.{layer}"])
    assert torch.equal(found[f"itm text_encoder.{layer}"], found[f"vqa text_encoder.{layer}"])
