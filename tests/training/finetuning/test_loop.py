"""Whole trainings of a tiny model: what they write, and that a kill leaves no trace in the losses."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retrieval.errors import TrainingBroken, TrainingBusy, TrainingDiffers, TrainingDiverged
from retrieval.models.blip import BlipRetrieval
from retrieval.training.finetuning.loop import Run, finetune
from retrieval.training.finetuning.measure import answer_accuracy, caption_loss
from retrieval.training.finetuning.recipe import Task
from retrieval.training.finetuning.start import open_start

MakeRun = Callable[..., Run]
MEASURES = {"caption": caption_loss, "vqa": answer_accuracy}


def losses(out: Path) -> bytes:
    return (out / "losses.jsonl").read_bytes()


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in losses(out).splitlines()]


def scripted(*values: float) -> Callable[[Path], dict[str, float]]:
    """A measure that gives one value after the other."""
    left = list(values)
    return lambda folder: {"mean_recall": left.pop(0)}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(BlipRetrieval.open(folder, name="x", device="cpu").network.state_dict())


def test_a_training_leaves_a_model_losses_curves_a_checkpoint_and_a_report(make_run: MakeRun, tmp_path: Path) -> None:
    report = finetune(make_run(tmp_path / "out", measure=scripted(0.1, 0.2, 0.3)))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint.before.pt",
        "checkpoint.pt",
        "losses.jsonl",
        "model",
        "report.json",
        "tensorboard",
    ]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert (report["epochs"], report["best_epoch"], report["steps"]) == (2, 2, 8)
    assert (report["before"], report["after"]) == ({"mean_recall": 0.1}, {"mean_recall": 0.3})
    assert [(line["epoch"], line["step"]) for line in lines(tmp_path / "out")] == [
        (1 + step // 4, 1 + step) for step in range(8)
    ]
    assert all(math.isfinite(line["itc"]) and math.isfinite(line["itm"]) for line in lines(tmp_path / "out"))


def test_the_curves_are_those_of_the_log(make_run: MakeRun, tmp_path: Path) -> None:
    finetune(make_run(tmp_path, measure=scripted(0.1, 0.2, 0.3)))
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in board.Scalars("train/itc")] == pytest.approx(
        [one["itc"] for one in lines(tmp_path)]
    )
    measured = [(event.step, event.value) for event in board.Scalars("validation/mean_recall")]
    assert measured == [(0, pytest.approx(0.1)), (4, pytest.approx(0.2)), (8, pytest.approx(0.3))]


def test_the_curves_of_a_training_that_was_stopped_have_every_step_once(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        finetune(make_run(tmp_path, stop_after=3, save_seconds=0.0))
    # What a kill leaves: curves go on after the state that is on disk, here that of step 2.
    (tmp_path / "checkpoint.before.pt").replace(tmp_path / "checkpoint.pt")
    finetune(make_run(tmp_path))
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/itc")] == list(range(1, 9))


@pytest.mark.parametrize(("task", "epochs", "rate"), [("match", 30, 5e-3), ("caption", 12, 1e-2), ("vqa", 12, 1e-2)])
def test_the_losses_fall(make_run: MakeRun, tmp_path: Path, task: Task, epochs: int, rate: float) -> None:
    finetune(make_run(tmp_path, task=task, epochs=epochs, rate=rate, augment=False, dropout=0.0))
    totals = [sum(line[name] for name in ("itc", "itm", "caption", "vqa") if name in line) for line in lines(tmp_path)]
    assert sum(totals[-4:]) < 0.85 * sum(totals[:4])


@pytest.mark.parametrize("task", ["caption", "vqa"])
def test_captions_and_answers_are_measured_on_what_is_held_out(
    make_run: MakeRun, examples: Any, tmp_path: Path, task: Task
) -> None:
    measure = partial(MEASURES[task], examples=examples(task), device="cpu")
    run = make_run(tmp_path, task=task, epochs=15, rate=1e-2, augment=False, dropout=0.0, measure=measure)
    report = finetune(run)
    (name,) = report["before"]
    gain = report["after"][name] - report["before"][name]
    assert gain > 0.3 if task == "vqa" else gain < -0.5


def test_the_model_is_that_of_the_best_epoch(make_run: MakeRun, tmp_path: Path) -> None:
    best = finetune(make_run(tmp_path / "best", epochs=3, measure=scripted(0.1, 0.4, 0.3, 0.2)))
    assert best["best_epoch"] == 1
    last = finetune(make_run(tmp_path / "last", epochs=3, measure=scripted(0.1, 0.2, 0.3, 0.4)))
    assert last["best_epoch"] == 3
    found, later = weights(tmp_path / "best" / "model"), weights(tmp_path / "last" / "model")
    assert any(not torch.equal(found[name], later[name]) for name in found)


def test_a_start_that_no_epoch_beats_stays_the_model(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, measure=scripted(0.5, 0.1, 0.5))
    before = {name: weight.clone() for name, weight in run.start.network.state_dict().items()}
    assert finetune(run)["best_epoch"] == 0
    assert all(torch.equal(before[name], weight) for name, weight in weights(tmp_path / "model").items())


def test_training_stops_when_patience_is_over(make_run: MakeRun, tmp_path: Path) -> None:
    report = finetune(make_run(tmp_path, epochs=9, patience=2, measure=scripted(0.1, 0.4, 0.3, 0.2)))
    assert (report["epochs"], report["best_epoch"]) == (3, 1)


def test_without_anything_held_out_the_model_is_that_of_the_last_epoch(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    report = finetune(run)
    assert (report["best_epoch"], report["after"]) == (2, {})
    trained = run.start.network.state_dict()
    assert all(torch.equal(trained[name], weight) for name, weight in weights(tmp_path / "model").items())


RECIPES: list[dict[str, Any]] = [
    {},
    {"queue": 10, "accumulate": 2, "batch": 2},
    {"precision": "bf16", "checkpointing": True},
    {"precision": "fp16", "rate": 1e-4},
    {"task": "caption"},
    {"task": "vqa"},
]


@pytest.mark.parametrize("changes", RECIPES, ids=lambda changes: "-".join(map(str, changes.values())) or "plain")
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_training_that_is_stopped_again_and_again_has_the_losses_of_one_that_is_not(
    make_run: MakeRun, tmp_path: Path, changes: dict[str, Any], stop_after: int
) -> None:
    finetune(make_run(tmp_path / "whole", **changes))
    stops = 0
    while True:
        try:
            finetune(make_run(tmp_path / "parts", stop_after=stop_after, **changes))
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 1
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(weight, parts["task"][name]) for name, weight in whole["task"].items())


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from conftest import CPU, some_examples
from retrieval.training.finetuning.loop import Run, finetune
from retrieval.training.finetuning.recipe import Recipe
from retrieval.training.finetuning.start import open_start

class Slow:
    def begin(self, what, total): pass
    def advance(self, count): time.sleep(0.02)

recipe = Recipe("match", epochs=6, batch=2, rate=1e-3)
start = open_start("match", Path({model!r}), name="tiny")
finetune(Run(recipe, start, some_examples("match"), Path({out!r}), CPU, None, Slow(), print, save_seconds=0.0))
"""


@pytest.mark.stress
def test_a_training_killed_at_any_moment_goes_on_with_the_same_losses(
    folders: dict[Task, Path], make_run: MakeRun, tmp_path: Path
) -> None:
    finetune(make_run(tmp_path / "whole", epochs=6, batch=2))
    out = tmp_path / "killed"
    code = KILLED.format(here=str(Path(__file__).parent), model=str(folders["match"]), out=str(out))
    # One thread, as many as this process has: sums of floats depend on how they are split.
    settings = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    for steps in (7, 31):
        process = subprocess.Popen([sys.executable, "-c", code], env=settings)
        while process.poll() is None and not (out.exists() and len(lines_of(out)) >= steps):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", code], env=settings, check=True)
    assert losses(out) == losses(tmp_path / "whole")


def lines_of(out: Path) -> list[bytes]:
    path = out / "losses.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def test_a_training_that_is_done_gives_its_report_again(make_run: MakeRun, tmp_path: Path) -> None:
    first = finetune(make_run(tmp_path, measure=scripted(0.1, 0.2, 0.3)))
    before = losses(tmp_path)
    assert finetune(make_run(tmp_path, measure=scripted())) == first
    assert losses(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 2e-3}, "rate 0.001 there, 0.002 here"),
        ({"batch": 3}, "batch 4 there"),
        ({"queue": 8}, "queue 0 there"),
    ],
)
def test_a_folder_of_another_training_is_refused(
    make_run: MakeRun, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    finetune(make_run(tmp_path))
    with pytest.raises(TrainingDiffers, match=said):
        finetune(make_run(tmp_path, **changes))


def test_other_held_out_examples_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    finetune(make_run(tmp_path))
    run = make_run(tmp_path)
    fewer = replace(run.examples, validation=run.examples.validation[1:])
    with pytest.raises(TrainingDiffers, match="other examples"):
        finetune(replace(run, examples=fewer))


def test_another_start_is_refused(make_run: MakeRun, folders: dict[Task, Path], tmp_path: Path) -> None:
    run = make_run(tmp_path / "out")
    finetune(run)
    changed = open_start("match", tmp_path / "out" / "model", name="other")
    with pytest.raises(TrainingDiffers, match="other start"):
        finetune(Run(**{**vars(make_run(tmp_path / "out")), "start": changed}))


def test_a_broken_checkpoint_is_named_and_the_one_before_it_used(make_run: MakeRun, tmp_path: Path) -> None:
    finetune(make_run(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        finetune(make_run(tmp_path / "out", stop_after=6))
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    said: list[str] = []
    finetune(make_run(tmp_path / "out", said=said))
    assert len(said) == 1
    assert "going on from the checkpoint before it" in said[0]
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")


def test_two_broken_checkpoints_are_one_line_and_nothing_is_overwritten(make_run: MakeRun, tmp_path: Path) -> None:
    finetune(make_run(tmp_path))
    for name in ("checkpoint.pt", "checkpoint.before.pt"):
        (tmp_path / name).write_bytes(b"broken")
    before = losses(tmp_path)
    with pytest.raises(TrainingBroken):
        finetune(make_run(tmp_path))
    assert losses(tmp_path) == before


@pytest.mark.parametrize("content", [{"model": 1}, {"identity": {}}, [1, 2]])
def test_a_checkpoint_of_something_else_is_one_line(make_run: MakeRun, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises((TrainingBroken, TrainingDiffers)) as raised:
        finetune(make_run(tmp_path))
    assert "\n" not in str(raised.value)


def test_two_trainings_in_one_folder_at_once_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    def second(_: Path) -> dict[str, float]:
        finetune(make_run(tmp_path))
        return {}

    with pytest.raises(TrainingBusy, match="another process is training"):
        finetune(make_run(tmp_path, measure=second))
    assert finetune(make_run(tmp_path))["epochs"] == 2  # the first one has ended


def test_what_measuring_needs_is_gone_before_and_after_a_run(make_run: MakeRun, tmp_path: Path) -> None:
    place = tmp_path / "validation"
    seen: list[bool] = []

    def measure(_: Path) -> dict[str, float]:
        seen.append(place.exists())
        place.mkdir(exist_ok=True)
        return {"mean_recall": 0.5}

    with pytest.raises(KeyboardInterrupt):
        finetune(make_run(tmp_path, measure=measure, stop_after=1))
    assert not place.exists()
    place.mkdir()  # what a kill leaves
    finetune(make_run(tmp_path, measure=measure))
    assert seen == [False, False, True]
    assert not place.exists()


def test_a_model_that_cannot_be_measured_is_not_left_behind(make_run: MakeRun, tmp_path: Path) -> None:
    def failing(_: Path) -> dict[str, float]:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        finetune(make_run(tmp_path, measure=failing))
    assert list(tmp_path.glob("epoch-*")) == []


def test_a_gradient_that_is_no_number_stops_before_the_weights_are_spoiled(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, epochs=1, batch=18)
    run.start.network.vision_proj.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingDiverged, match=r"step 1 \(gradient nan\)"):
        finetune(run)
    assert all(torch.isfinite(weight).all() for weight in run.start.network.parameters())


def test_a_rate_that_is_far_too_high_is_one_line_and_leaves_the_checkpoint(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="lower the rate"):
        finetune(make_run(tmp_path, epochs=30, rate=1e30, warmup=0))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["progress"]["epoch"] == 0
