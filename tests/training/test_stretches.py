"""Stretches of a tiny linear layer: they go on after a kill, and are refused in a folder of another run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retrieval.errors import TrainingBroken, TrainingDiffers, TrainingNotWritten
from retrieval.training.stretches import Pace, Plan, Run, settings_of

CPU = torch.device("cpu")
SETTINGS = {"batches": (4, 4), "size": {"width": 2, "depth": 1}, "start": None}
PACE = Pace(seed=1, warmup=2, weight_decay=0.05, clip=1.0, save_every=100, settings=SETTINGS)
NAMES, STEPS = ("one", "two"), (3, 4)


class Doubling:
    """A layer that shall learn to double numbers."""

    def __init__(self, layer: nn.Linear) -> None:
        self.trained = layer

    def losses(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        return {"off": (self.trained(batch) - 2 * batch).square().mean()}


def prepared(
    out: Path,
    *,
    width: int = 2,
    names: tuple[str, ...] = NAMES,
    steps: tuple[int, ...] = STEPS,
    rate: float = 1e-2,
    **pace: Any,
) -> Run:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(width, width)
    plans = [
        Plan(name, count, rate, lambda: Doubling(layer), lambda step: torch.full((1, width), 1.0 + step))
        for name, count in zip(names, steps, strict=True)
    ]
    return Run(plans, {"layer": layer}, out, CPU, replace(PACE, **pace))


def begun(out: Path, *, steps: int) -> Path:
    """Do so many steps and save after each: no time at all is one step a call."""
    for _ in range(steps):
        assert not prepared(out).finish(-math.inf)
    return out


def finished(out: Path) -> list[dict[str, Any]]:
    """Go on to the end, and give the losses."""
    assert prepared(out).finish(math.inf)
    lines = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture
def whole(tmp_path: Path) -> list[dict[str, Any]]:
    """The losses of a run that was never stopped."""
    return finished(tmp_path / "whole")


def test_a_run_has_every_step_of_every_stretch(whole: list[dict[str, Any]]) -> None:
    wanted = [(name, step) for name, count in zip(NAMES, STEPS, strict=True) for step in range(count)]
    assert [(line["stretch"], line["step"]) for line in whole] == wanted


def test_a_run_that_is_stopped_after_every_step_has_the_losses_of_one_that_is_not(
    whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert finished(begun(tmp_path / "parts", steps=6)) == whole


# What a kill leaves in the log


@pytest.mark.parametrize("torn", ['{"stretch": "one", "st', "{", '{"stretch": "one", "step": 2, "off": 1.0}'])
def test_a_line_that_a_kill_tore_is_dropped(whole: list[dict[str, Any]], tmp_path: Path, torn: str) -> None:
    out = begun(tmp_path / "out", steps=2)
    with (out / "losses.jsonl").open("a") as log:
        log.write(torn)
    assert finished(out) == whole


def test_what_was_logged_before_the_first_checkpoint_is_logged_once(
    whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "losses.jsonl").write_text('{"stretch": "one", "step": 0, "seconds": 0.1, "off": 9.0}\n{"stretch": "o')
    assert finished(out) == whole


def test_a_run_goes_on_without_its_log(whole: list[dict[str, Any]], tmp_path: Path) -> None:
    out = begun(tmp_path / "out", steps=2)
    (out / "losses.jsonl").unlink()
    assert finished(out) == whole[2:]


# Another run's folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ("one", "three")}, "stretches one, two there, one, three here"),
        ({"names": ("one",), "steps": (3,)}, "stretches one, two there, one here"),
        ({"steps": (3, 5)}, "steps of two 4 there, 5 here"),
        ({"rate": 2e-2}, "rate of one 0.01 there, 0.02 here"),
        ({"seed": 2}, "seed 1 there, 2 here"),
        ({"warmup": 3}, "warmup 2 there, 3 here"),
        ({"weight_decay": 0.0}, "weight_decay 0.05 there, 0.0 here"),
        ({"clip": 2.0}, "clip 1.0 there, 2.0 here"),
        ({"settings": {**SETTINGS, "batches": (4, 8)}}, "batches (4, 4) there, (4, 8) here"),
        ({"settings": {**SETTINGS, "size": {"width": 3, "depth": 1}}}, "size width 2 there, 3 here"),
        ({"settings": {**SETTINGS, "start": "ab12"}}, "start None there, ab12 here"),
    ],
)
def test_a_run_of_other_settings_is_refused_and_nothing_is_lost(
    whole: list[dict[str, Any]], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    out = begun(tmp_path / "out", steps=2)
    with pytest.raises(TrainingDiffers) as raised:
        prepared(out, **changes)
    assert f"({said})" in str(raised.value)
    assert finished(out) == whole


def test_how_often_is_saved_and_who_draws_may_change(tmp_path: Path) -> None:
    out = begun(tmp_path / "out", steps=2)
    assert prepared(out, save_every=1, workers=1).finish(math.inf)


def test_a_checkpoint_that_says_nothing_of_its_run_is_gone_on_from(whole: list[dict[str, Any]], tmp_path: Path) -> None:
    out = begun(tmp_path / "out", steps=2)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    del state["identity"]
    torch.save(state, out / "checkpoint.pt")
    assert finished(out) == whole


def test_a_checkpoint_that_does_not_say_a_setting_is_believed_to_have_it(
    whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = begun(tmp_path / "out", steps=2)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    del state["identity"]["batches"]
    torch.save(state, out / "checkpoint.pt")
    assert finished(out) == whole


@dataclass(frozen=True)
class Spoken:
    """A recipe of its own size, which may be saved more often or less."""

    half: bool = False
    save_every: int = 200
    size: tuple[int, int] = (2, 3)


def test_the_settings_of_a_recipe_are_all_that_it_states_but_how_often_is_saved() -> None:
    assert settings_of(Spoken(), start="ab12") == {"half": False, "size": (2, 3), "start": "ab12"}


# Broken files: one line, and what is there stays there


def one_line(raised: pytest.ExceptionInfo[TrainingBroken], out: Path) -> bool:
    return "\n" not in str(raised.value) and f"the training in {out} cannot go on" in str(raised.value)


@pytest.mark.parametrize("cut", [0, 100, 1000])
def test_a_broken_checkpoint_is_one_line(tmp_path: Path, cut: int) -> None:
    out = begun(tmp_path / "out", steps=2)
    checkpoint, log = out / "checkpoint.pt", (out / "losses.jsonl").read_bytes()
    checkpoint.write_bytes(checkpoint.read_bytes()[:cut])
    with pytest.raises(TrainingBroken, match=r"checkpoint\.pt cannot be read") as raised:
        prepared(out)
    assert one_line(raised, out)
    assert (out / "losses.jsonl").read_bytes() == log


@pytest.mark.parametrize("content", [[1, 2], {"layer": 1}, {"kept": {"layer": 1}, "stretch": 0, "step": 1}])
def test_a_checkpoint_of_something_else_is_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingBroken) as raised:
        prepared(tmp_path)
    assert one_line(raised, tmp_path)


def test_a_checkpoint_of_a_model_of_another_size_is_one_line(tmp_path: Path) -> None:
    out = begun(tmp_path / "out", steps=2)
    with pytest.raises(TrainingBroken) as raised:
        prepared(out, width=3)
    assert one_line(raised, out)


def test_an_optimiser_of_something_else_is_one_line(tmp_path: Path) -> None:
    out = begun(tmp_path / "out", steps=2)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    torch.save({**state, "optimiser": {}}, out / "checkpoint.pt")
    with pytest.raises(TrainingBroken) as raised:
        prepared(out).finish(math.inf)
    assert one_line(raised, out)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(whole: list[dict[str, Any]], tmp_path: Path) -> None:
    out = begun(tmp_path / "out", steps=2)
    (out / "checkpoint.tmp").symlink_to("/dev/full")
    with pytest.raises(TrainingNotWritten, match="No space left on device") as raised:
        prepared(out).finish(math.inf)
    assert "\n" not in str(raised.value)
    assert finished(out) == whole
