"""A tiny BLIP with random weights, in folders that the public loader opens, and pictures of plain colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)

from retrieval.training.finetuning.distributed import Team
from retrieval.training.finetuning.examples import Example, Examples, Picture
from retrieval.training.finetuning.loop import Run
from retrieval.training.finetuning.recipe import Recipe, Task
from retrieval.training.finetuning.start import open_start

WORDS = ["a", "picture", "of", "red", "green", "blue", "dark", "bright", "what", "colour", "is", "it"]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "?", "[DEC]", "[ENC]"]
KINDS = {"match": BlipForImageTextRetrieval, "caption": BlipForConditionalGeneration, "vqa": BlipForQuestionAnswering}
COLOURS = {"red": 0, "green": 1, "blue": 2}
CPU = Team(0, 1, torch.device("cpu"))

MakeFolder = Callable[..., Path]
MakeRun = Callable[..., Run]


def write_model(task: Task, folder: Path) -> Path:
    """Write a BLIP of one layer and width 16 that reads pictures of 32 pixels."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = BlipConfig(
        text_config={
            **sizes,
            "vocab_size": len(TOKENS),
            "encoder_hidden_size": 16,
            "max_position_embeddings": 48,
            "bos_token_id": TOKENS.index("[DEC]"),
            "sep_token_id": TOKENS.index("[SEP]"),
            "eos_token_id": TOKENS.index("[SEP]"),
            "pad_token_id": 0,
        },
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        image_text_hidden_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = KINDS[task](config)
        with torch.no_grad():
            # Of this width, the usual first weights are too small to tell pictures apart.
            for name, weight in model.named_parameters():
                if weight.ndim > 1:
                    weight.normal_(std=0.5 if "embedding" in name else 0.2)
        model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    return folder


def coloured(colour: str, shade: int) -> Picture:
    """A picture of one colour that is made when it is opened."""

    def paint() -> Image.Image:
        values = [30, 30, 30]
        values[COLOURS[colour]] = 80 + 20 * shade
        return Image.new("RGB", (40, 30), tuple(values))

    return Picture(f"{colour}-{shade}", f"{colour}-{shade}", paint)


def some_examples(task: Task) -> Examples:
    """Twelve pictures in three colours and four shades, the darkest held out; two texts for each."""
    pictures = tuple(coloured(colour, shade) for colour in COLOURS for shade in range(4))

    def about(number: int) -> list[Example]:
        colour, shade = pictures[number].content.split("-")
        if task == "vqa":
            answers = ((colour, 0.75), ("dark" if shade < "2" else "bright", 0.25))
            return [Example(number, "what colour is it?", answers)]
        return [
            Example(number, text) for text in (f"a {colour} picture", f"{colour} {'dark' if shade < '2' else 'it'}")
        ]

    train = [one for number in range(12) if number % 4 for one in about(number)]
    held_out = [one for number in range(0, 12, 4) for one in about(number)]
    return Examples(pictures, tuple(train), tuple(held_out))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Path]:
    """A model folder for each task."""
    root = tmp_path_factory.mktemp("models")
    return {task: write_model(task, root / task) for task in ("match", "caption", "vqa")}


@pytest.fixture
def examples() -> Callable[[Task], Examples]:
    return some_examples


class Watcher:
    """Counts steps, and stops the run as a person would once so many are done."""

    def __init__(self, stop_after: int | None) -> None:
        self.left = stop_after

    def begin(self, what: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        if self.left is not None:
            self.left -= count
            if self.left <= 0:
                raise KeyboardInterrupt


@pytest.fixture
def make_run(folders: dict[Task, Path]) -> MakeRun:
    """Describe a short training in a folder; `stop_after` interrupts it, what it says goes to `said`."""

    def make(
        out: Path,
        *,
        stop_after: int | None = None,
        said: list[str] | None = None,
        measure: Any = None,
        save_seconds: float = 300.0,
        **changes: Any,
    ) -> Run:
        settings: dict[str, Any] = {"task": "match", "epochs": 2, "batch": 4, "rate": 1e-3, **changes}
        recipe = Recipe(**settings)
        return Run(
            recipe=recipe,
            start=open_start(recipe.task, folders[recipe.task], name="tiny"),
            examples=some_examples(recipe.task),
            folder=out,
            team=CPU,
            measure=measure,
            watch=Watcher(stop_after),
            say=(said if said is not None else []).append,
            save_seconds=save_seconds,
        )

    return make
