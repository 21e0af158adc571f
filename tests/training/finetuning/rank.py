"""One process of two: computes losses and gradients of its half of a batch and writes what came out. No test itself."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from conftest import some_examples
from torch.nn.parallel import DistributedDataParallel

from retrieval.models.preprocess import normalise
from retrieval.training.finetuning.distributed import Team, joined
from retrieval.training.finetuning.loading import View, stacks
from retrieval.training.finetuning.recipe import Recipe, Task
from retrieval.training.finetuning.start import open_start
from retrieval.training.finetuning.tasks import Batch, task_for

NUMBERS = (0, 3, 6, 8, 1, 7)
"""Two of the pictures share a colour and so a text; those of vqa are fewer."""


CASES: tuple[tuple[Task, int], ...] = (("match", 0), ("match", 8), ("caption", 0), ("vqa", 0))
"""Tasks, and how long the queue is."""


def results(task: Task, queue: int, folder: Path, team: Team) -> dict[str, torch.Tensor]:
    """Losses of two passes (the second meets what the first left in the queue), and the gradients of both."""
    examples = some_examples(task)
    start = open_start(task, folder, name="tiny")
    recipe = Recipe(task, epochs=1, batch=6 // team.size, rate=1e-3, dropout=0.0, queue=queue)
    module = task_for(recipe, start, examples.train)
    model = DistributedDataParallel(module, broadcast_buffers=False) if team.size > 1 else module
    everyone = [examples.train[number] for number in NUMBERS]
    rows = slice(team.rank * recipe.batch, (team.rank + 1) * recipe.batch)
    views = [View(examples.pictures[one.picture], None, False) for one in everyone[rows]]
    (pixels,) = stacks([views], size=start.image_size, threads=1)
    found = {}
    for number in range(2):
        losses = model(Batch(normalise(pixels), everyone, rows, alpha=0.4, seed=number))
        torch.stack(list(losses.values())).sum().backward()
        found |= {f"loss {number} {name}": team.mean(loss) for name, loss in losses.items()}
    return found | {f"gradient {name}": one.grad for name, one in module.named_parameters() if one.grad is not None}


if __name__ == "__main__":
    models, out = map(Path, sys.argv[1:])
    with joined("cpu") as team:
        everything = {f"{task} {queue}": results(task, queue, models / task, team) for task, queue in CASES}
        torch.save(everything, out / f"{team.rank}-of-{team.size}.pt")
