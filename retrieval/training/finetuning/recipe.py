"""What decides what a fine-tuning computes. The defaults of each task are BLIP's, from its paper and its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Task = Literal["match", "caption", "vqa"]
Precision = Literal["float32", "bf16", "fp16"]

TASKS: tuple[Task, ...] = get_args(Task)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Recipe:
    """Two runs with equal recipes, starts and examples compute the same.

    `batch` counts examples of one process and one backward pass; an optimiser step sees `accumulate` such batches of
    every process. `warmup` counts steps; None is a twentieth of all. `queue` counts the embeddings of earlier batches
    that ITC compares with (0: no momentum encoders); `alpha` is the weight of their soft targets. `patience` counts
    epochs without a better measure until training stops; None never stops.
    """

    task: Task
    epochs: int
    batch: int
    rate: float
    seed: int = 1
    warmup: int | None = None
    accumulate: int = 1
    precision: Precision = "float32"
    checkpointing: bool = False
    weight_decay: float = 0.05
    clip: float = 1.0
    dropout: float = 0.1
    augment: bool = True
    queue: int = 0
    momentum: float = 0.995
    alpha: float = 0.4
    patience: int | None = None
    new_words: bool = False


# Li et al. 2022 (BLIP), section 5 and appendix A, with the authors' configurations for COCO and VQAv2: AdamW with
# weight decay 0.05, cosine decay, rates and epochs as here; the batch is that of one of their GPUs.
DEFAULTS: Mapping[Task, Recipe] = {
    "match": Recipe("match", epochs=6, batch=32, rate=1e-5),
    "caption": Recipe("caption", epochs=5, batch=32, rate=1e-5),
    "vqa": Recipe("vqa", epochs=10, batch=16, rate=2e-5),
}


def recipe_for(task: Task, given: Mapping[str, Any]) -> Recipe:
    """Take a task's defaults and put in place of them what was given; None leaves the default."""
    return replace(DEFAULTS[task], **{name: value for name, value in given.items() if value is not None})
