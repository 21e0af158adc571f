from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.training.finetuning.examples import Example, Examples
from retrieval.training.finetuning.momentum import ENCODERS, Queue, Twin
from retrieval.training.finetuning.recipe import Recipe, Task
from retrieval.training.finetuning.start import Start, open_start
from retrieval.training.finetuning.tasks import Batch, MatchTask

RECIPE: dict[str, Any] = {"epochs": 1, "batch": 2, "rate": 1e-3, "dropout": 0.0}


@pytest.fixture
def start(folders: dict[Task, Path]) -> Start:
    return open_start("match", folders["match"], name="tiny")


def numbered(*values: float) -> torch.Tensor:
    return torch.tensor([[value] for value in values])


def test_the_twin_follows_by_the_momentum(start: Start) -> None:
    twin = Twin(start.network)
    before = twin.text_proj.weight.clone()
    with torch.no_grad():
        start.network.text_proj.weight.add_(1.0)
    twin.follow(start.network, 0.9)
    assert torch.allclose(twin.text_proj.weight, 0.9 * before + 0.1 * (before + 1.0))


def test_the_twin_is_never_trained_and_never_drops(start: Start) -> None:
    task = MatchTask(start, Recipe("match", queue=4, **RECIPE), [Example(0, "red")])
    task.train()
    assert task.twin is not None
    assert not task.twin.training
    assert not any(weight.requires_grad for weight in task.twin.parameters())
    assert {name.split(".")[0] for name, _ in task.twin.named_parameters()} == set(ENCODERS)


def test_the_queue_keeps_the_newest_and_forgets_the_oldest() -> None:
    queue = Queue(3, 1)
    assert len(queue.remembered().images) == 0
    for values in ((1.0, 2.0), (3.0, 4.0)):
        numbers = torch.tensor(values).long()
        queue.push(numbered(*values), numbered(*(-value for value in values)), numbers, numbers + 10)
    found = queue.remembered()
    assert sorted(found.images[:, 0].tolist()) == [2.0, 3.0, 4.0]
    assert found.texts[:, 0].tolist() == [-value for value in found.images[:, 0].tolist()]
    assert (found.words - found.pictures).tolist() == [10, 10, 10]


def test_a_batch_larger_than_the_queue_leaves_its_end() -> None:
    queue = Queue(2, 1)
    numbers = torch.arange(5)
    queue.push(numbered(0, 1, 2, 3, 4), numbered(0, 1, 2, 3, 4), numbers, numbers)
    assert sorted(queue.remembered().pictures.tolist()) == [3, 4]


def test_with_a_fresh_twin_an_empty_queue_and_no_alpha_itc_is_that_without_a_queue(
    start: Start, examples: Callable[[Task], Examples]
) -> None:
    found = examples("match")
    some = [found.train[number] for number in (0, 5, 9)]
    batch = Batch(torch.randn(3, 3, 32, 32), some, slice(0, 3), alpha=0.0, seed=1)
    plain = MatchTask(start, Recipe("match", **RECIPE), found.train)
    queued = MatchTask(start, Recipe("match", queue=6, **RECIPE), found.train)
    assert queued(batch)["itc"].item() == pytest.approx(plain(batch)["itc"].item(), abs=1e-5)
    # Now the queue holds this batch: there is more to tell apart.
    assert queued(batch)["itc"].item() > plain(batch)["itc"].item() + 0.1


def test_what_the_queue_knows_to_be_true_is_no_negative(start: Start) -> None:
    found = [Example(0, "red"), Example(1, "blue")]
    task = MatchTask(start, Recipe("match", queue=8, **RECIPE), found)
    batch = Batch(torch.randn(2, 3, 32, 32), found, slice(0, 2), alpha=0.0, seed=1)
    task(batch)
    assert task.queue is not None
    remembered = task.queue.remembered()
    pictures, _ = task.truth.numbers(found)
    assert task.truth.between(pictures, remembered.words).tolist() == [[True, False], [False, True]]
