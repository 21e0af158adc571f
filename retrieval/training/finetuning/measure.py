"""Measures of captions and answers on held-out examples, by a model folder as it was saved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from retrieval.models.blip import BlipAnswerer, BlipCaptioner
from retrieval.models.preprocess import normalise
from retrieval.training.finetuning.examples import Example, Examples
from retrieval.training.finetuning.recipe import Task
from retrieval.training.finetuning.tasks import Batch, CaptionTask, Model
from retrieval.types import UInt8

BATCH = 16

Measure = Callable[[Path], dict[str, float]]
"""Judges a model folder: named numbers."""

# What decides which epoch is best, and whether more of it is better.
GOALS: Mapping[Task, tuple[str, bool]] = {
    "match": ("mean_recall", True),
    "caption": ("loss", False),
    "vqa": ("accuracy", True),
}


def caption_loss(folder: Path, examples: Examples, *, device: str) -> dict[str, float]:
    """`loss`: the mean of -log p over the words of the held-out captions, without smoothing; less is better."""
    model = BlipCaptioner.open(folder, name=str(folder), device=device)
    task = CaptionTask(model).eval()
    total, words = 0.0, 0
    for start in range(0, len(examples.validation), BATCH):
        some = examples.validation[start : start + BATCH]
        pixels = normalise(_stack(some, examples, model.prepare), device=device)
        with torch.inference_mode():
            sums, scored = task.sums(Batch(pixels, some, slice(None), alpha=0.0, seed=0), smoothing=0.0)
        total, words = total + float(sums.sum()), words + int(scored.sum())
    return {"loss": total / words}


def answer_accuracy(folder: Path, examples: Examples, *, device: str) -> dict[str, float]:
    """`accuracy`: the share of held-out questions to which the model gives one of the known answers."""
    model = BlipAnswerer.open(folder, name=str(folder), device=device)
    alike: dict[str, list[Example]] = defaultdict(list)
    for example in examples.validation:
        alike[example.text].append(example)
    right = 0
    for question, asked in alike.items():
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            given = model.answer(_stack(some, examples, model.prepare), question)
            right += sum(said in answers_as_said(model, one) for said, one in zip(given, some, strict=True))
    return {"accuracy": right / len(examples.validation)}


def answers_as_said(model: Model, example: Example) -> set[str]:
    """The known answers as a model would write them: "t-shirt" comes out as "t - shirt".

    An answer with a word that the vocabulary lacks stays as it is: the model cannot give it.
    """
    words = model.vocabulary
    return {
        answer if words.unknown_words(answer) else words.decode(words.encode(answer)) for answer, _ in example.answers
    }


def _stack(some: Sequence[Example], examples: Examples, prepare: Callable[..., UInt8]) -> UInt8:
    return np.stack([prepare(examples.pictures[one.picture].open()) for one in some])
