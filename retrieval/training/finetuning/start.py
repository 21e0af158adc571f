"""The model that training begins with: opened, given new words, and saved again as a Hugging Face folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertTokenizer
from transformers.utils import logging

from retrieval.errors import TrainingNotWritten
from retrieval.models import authors, weights
from retrieval.models.blip import BlipAnswerer, BlipCaptioner, BlipRetrieval
from retrieval.models.preprocess import pre_caption
from retrieval.models.vocabulary import Vocabulary
from retrieval.training.finetuning.examples import Example
from retrieval.training.finetuning.recipe import Task

NOISE = 0.02
"""Deviation of new rows around the mean of the old ones: that of BERT's first weights."""

_SPELLING = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_ABOUT_USE = ("preprocessor_config.json", "generation_config.json")


@dataclass(frozen=True)
class Start:
    """A network in float32 on the CPU, ready to be trained, and what belongs into its folder.

    `image_size` is the side of a picture in pixels, `text_length` the most tokens of a text, both as they are served.
    """

    task: Task
    folder: Path
    network: Any
    vocabulary: Vocabulary
    image_size: int
    text_length: int
    digest: str
    new_words: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write the network as it is now; a folder that cannot be written whole is removed again."""
        try:
            folder.mkdir(parents=True)
            with _no_bars():
                self.network.save_pretrained(folder)
            (folder / "model.safetensors").chmod(0o644)
            self._save_words(folder)
            self._copy(_ABOUT_USE, folder)
        except Exception as error:  # safetensors raises its own kind when the disk is full
            shutil.rmtree(folder, ignore_errors=True)
            raise TrainingNotWritten(folder, error) from error

    def _copy(self, names: Iterable[str], folder: Path) -> None:
        """Take over the files of the start that are there."""
        for name in names:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, folder / name)

    def _save_words(self, folder: Path) -> None:
        if not self.new_words and not authors.is_authors(self.folder):
            self._copy(_SPELLING, folder)
            return
        rows = self.vocabulary.rows
        (folder / "vocab.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8", newline="\n")
        BertTokenizer(
            vocab={token: number for number, token in enumerate(rows)},
            do_lower_case=True,
            bos_token="[DEC]",
            additional_special_tokens=["[ENC]"],
            model_max_length=self.text_length,
        ).save_pretrained(folder)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar of its own into that of the training."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def open_start(task: Task, folder: Path, *, name: str) -> Start:
    """Open a model folder with the class that serves users, so that what is trained is what will be asked."""
    model: BlipRetrieval | BlipCaptioner | BlipAnswerer
    match task:
        case "match":
            model = BlipRetrieval.open(folder, name=name, device="cpu")
        case "caption":
            model = BlipCaptioner.open(folder, name=name, device="cpu")
        case "vqa":
            model = BlipAnswerer.open(folder, name=name, device="cpu")
    network = model.network.requires_grad_(True)
    _share_tied(network)
    digest = weights.digest(folder)
    return Start(task, folder, network, model.vocabulary, model.image_size, model.text_length, digest)


def unknown_words(vocabulary: Vocabulary, examples: Iterable[Example]) -> tuple[str, ...]:
    """The words of examples that a vocabulary has no pieces for, as it would spell them, in order of appearance."""
    texts = dict.fromkeys(
        text for example in examples for text in (pre_caption(example.text), *(answer for answer, _ in example.answers))
    )
    found = (vocabulary.spelled(word) for text in texts for word in vocabulary.unknown_words(text))
    return tuple(dict.fromkeys(found))


def with_new_words(start: Start, words: tuple[str, ...], *, seed: int) -> Start:
    """Give a network a row for each word, the same for the same seed; ties between weights stay.

    A row begins as the mean of all rows and a little noise; in a language model the word's bias begins as 0.
    """
    vocabulary = start.vocabulary.grown(words)
    text = start.network.config.text_config
    rows = max(len(vocabulary.rows), text.vocab_size)
    generator = torch.Generator().manual_seed(seed)
    grown: dict[int, nn.Parameter] = {}

    def grow(weight: nn.Parameter) -> nn.Parameter:
        if id(weight) not in grown:
            grown[id(weight)] = nn.Parameter(_longer(weight.data, rows, generator))
        return grown[id(weight)]

    before = []  # kept alive, so that no two have one id
    for name, module in start.network.named_modules():
        if name.endswith(("word_embeddings", "predictions.decoder")):
            before.append(module.weight)
            module.weight = grow(module.weight)
        if name.endswith(("predictions", "predictions.decoder")):
            before.append(module.bias)
            module.bias = grow(module.bias)
    text.vocab_size = rows
    return replace(start, vocabulary=vocabulary, new_words=words)


def _longer(weight: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """A matrix with rows like the others behind it, or a vector with zeros."""
    missing = rows - len(weight)
    if weight.ndim == 1:
        return torch.cat([weight, weight.new_zeros(missing)])
    noise = NOISE * torch.randn(missing, weight.shape[1], generator=generator)
    return torch.cat([weight, weight.mean(dim=0) + noise])


def _share_tied(network: Any) -> None:
    """Make weights that share memory one parameter again: loading leaves two, and an optimiser would move both."""
    first: dict[int, nn.Parameter] = {}
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            shared = first.setdefault(weight.data_ptr(), weight)
            if shared is not weight and shared.shape == weight.shape:
                setattr(module, name, shared)
