"""The tasks on a tiny model: what they compute of a batch, written out again step by step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from retrieval.models.blip import BlipRetrieval
from retrieval.models.preprocess import normalise, resize
from retrieval.training.finetuning.examples import Example, Examples
from retrieval.training.finetuning.recipe import Recipe, Task
from retrieval.training.finetuning.start import Start, open_start
from retrieval.training.finetuning.tasks import AnswerTask, Batch, CaptionTask, MatchTask, Truth, task_for, words_read

Make = Callable[[Task], Examples]


def recipe(task: Task = "match", **changes: Any) -> Recipe:
    return Recipe(task, **{"epochs": 1, "batch": 4, "rate": 1e-3, "dropout": 0.0, **changes})


def batch_of(start: Start, examples: Examples, numbers: Sequence[int], *, alpha: float = 0.0) -> Batch:
    some = [examples.train[number] for number in numbers]
    pixels = np.stack([resize(examples.pictures[one.picture].open(), start.image_size) for one in some])
    return Batch(normalise(pixels), some, slice(0, len(some)), alpha, seed=7)


@pytest.fixture
def start(folders: dict[Task, Path]) -> Start:
    return open_start("match", folders["match"], name="tiny")


def test_a_text_is_true_of_every_picture_that_it_is_paired_with() -> None:
    truth = Truth([Example(0, "red"), Example(1, "red"), Example(1, "dark"), Example(2, "blue")])
    pictures, texts = truth.numbers([Example(0, "red"), Example(1, "dark"), Example(2, "blue")])
    assert truth.between(pictures, texts).tolist() == [
        [True, False, False],
        [True, True, False],
        [False, False, True],
    ]


def test_texts_that_are_read_alike_are_one_text() -> None:
    truth = Truth([Example(0, "A red one!"), Example(1, "a red one"), Example(2, "a red, one")])
    pictures, texts = truth.numbers([Example(0, "A red one!"), Example(1, "a red one"), Example(2, "a red, one")])
    assert truth.between(pictures, texts).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]


def test_texts_are_cut_where_the_served_model_cuts_them(folders: dict[Task, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["match"], tmp_path / "long")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 44}))
    start = open_start("match", folder, name="tiny")
    found = [Example(number, 19 * "it, " + word) for number, word in enumerate(("red", "blue"))]
    pixels = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in (40, 200)])
    task = MatchTask(start, recipe(), found).eval()
    length = start.text_length
    model = BlipRetrieval(start.network, start.vocabulary, folder=folder, name="tiny", text_length=length)
    images = torch.tensor(model.encode_images(pixels)[:, 0])
    logits = images @ torch.tensor(model.encode_texts([one.text for one in found])).T / 0.07
    assert abs(logits[0, 0] - logits[0, 1]) > 1e-3  # the last word, which is the 39th token, is read
    expected = (cross_entropy(logits, torch.arange(2)) + cross_entropy(logits.T, torch.arange(2))) / 2
    loss = task(Batch(normalise(pixels), found, slice(0, 2), 0.0, seed=1))["itc"]
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


LONG = 29 * "it " + "red"


def test_texts_that_differ_after_thirty_words_are_one_text_to_training() -> None:
    found = [Example(0, LONG), Example(1, f"{LONG} blue")]
    assert Truth(found).between(*Truth(found).numbers(found)).all()


@pytest.mark.parametrize("task", ["match", "caption"])
def test_training_reads_thirty_words_of_a_caption(folders: dict[Task, Path], task: Task) -> None:
    start = open_start(task, folders[task], name="tiny")
    pixels = torch.zeros(2, 3, 32, 32)
    losses = []
    for text in (LONG, f"{LONG} blue green", LONG.replace("red", "blue")):
        found = [Example(0, text), Example(1, "dark")]
        module = task_for(recipe(task), start, found).eval()
        losses.append(sum(module(Batch(pixels, found, slice(0, 2), 0.0, seed=1)).values()).item())
    assert losses[0] == losses[1] != losses[2]


def test_a_model_of_longer_texts_is_trained_on_more_words(folders: dict[Task, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["match"], tmp_path / "long")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 44}))
    assert words_read(open_start("match", folders["match"], name="tiny")) == 30
    assert words_read(open_start("match", folder, name="tiny")) == 50


def test_itc_without_a_queue_is_the_formula_over_the_batch(start: Start, examples: Make) -> None:
    found = examples("match")
    task = MatchTask(start, recipe(), found.train).eval()
    batch = batch_of(start, found, [0, 2, 7, 12])
    model = BlipRetrieval(start.network, start.vocabulary, folder=start.folder, name="tiny", text_length=35)
    pixels = np.stack([model.prepare(found.pictures[one.picture].open()) for one in batch.examples])
    images = torch.tensor(model.encode_images(pixels)[:, 0])
    texts = torch.tensor(model.encode_texts([one.text for one in batch.examples]))
    known = {(one.picture, one.text) for one in found.train}
    target = torch.tensor([[float((i.picture, t.text) in known) for t in batch.examples] for i in batch.examples])
    assert target.sum() > 4  # pictures of one colour share a text
    logits = images @ texts.T / 0.07
    to_texts = -(log_softmax(logits, 1) * target / target.sum(1, keepdim=True)).sum(1).mean()
    to_images = -(log_softmax(logits.T, 1) * target.T / target.T.sum(1, keepdim=True)).sum(1).mean()
    assert task(batch)["itc"].item() == pytest.approx(((to_texts + to_images) / 2).item(), abs=1e-5)


def test_itm_reads_each_pair_as_the_matcher_does(start: Start) -> None:
    # Two pictures and two texts: each one's only negative is the other.
    found = [Example(0, "red"), Example(1, "blue")]
    pixels = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in (40, 200)])
    task = MatchTask(start, recipe(), found).eval()
    loss = task(Batch(normalise(pixels), found, slice(0, 2), 0.0, seed=1))["itm"]
    model = BlipRetrieval(start.network, start.vocabulary, folder=start.folder, name="tiny", text_length=35)
    tokens = model.image_tokens(pixels)
    pairs = np.array([[0, 0], [1, 1], [1, 0], [0, 1], [0, 1], [1, 0]])
    logits = torch.tensor(model.match(tokens, ["red", "blue"], pairs))
    expected = cross_entropy(logits, torch.tensor([1, 1, 0, 0, 0, 0]))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_batch_without_negatives_still_has_a_loss(start: Start) -> None:
    found = [Example(0, "red"), Example(1, "red")]
    task = MatchTask(start, recipe(), found).eval()
    losses = task(Batch(torch.zeros(2, 3, 32, 32), found, slice(0, 2), 0.0, seed=1))
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_every_weight_gets_a_gradient(folders: dict[Task, Path], examples: Make) -> None:
    for task in ("match", "caption", "vqa"):
        found = examples(task)
        start = open_start(task, folders[task], name="tiny")
        module = task_for(recipe(task), start, found.train)
        torch.stack(list(module(batch_of(start, found, [0, 3, 6])).values())).sum().backward()
        left_out = [name for name, weight in module.named_parameters() if weight.grad is None]
        assert left_out == [], task


def test_a_caption_s_loss_is_that_of_its_words_after_the_prompt(folders: dict[Task, Path], examples: Make) -> None:
    found = examples("caption")
    start = open_start("caption", folders["caption"], name="tiny")
    task = CaptionTask(start).eval()
    batch = batch_of(start, found, [1])
    text = batch.examples[0].text
    ids = start.vocabulary.sequence(f"a picture of {text}", first=start.vocabulary.dec, length=40)
    tokens = start.network.vision_model(pixel_values=batch.pixels).last_hidden_state
    logits = start.network.text_decoder(input_ids=torch.tensor([ids]), encoder_hidden_states=tokens).logits[0]
    # [DEC] a picture of | the caption's words [SEP]
    expected = cross_entropy(logits[3:-1], torch.tensor(ids[4:]), label_smoothing=0.1)
    assert len(ids) == 4 + len(text.split()) + 1
    assert task(batch)["caption"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_answers_count_by_their_weights(folders: dict[Task, Path], examples: Make) -> None:
    found = examples("vqa")
    start = open_start("vqa", folders["vqa"], name="tiny")
    task = AnswerTask(start).eval()
    whole = batch_of(start, found, [0, 4])
    expected = 0.0
    for row, one in enumerate(whole.examples):
        for answer, weight in one.answers:
            alone = Batch(whole.pixels[row : row + 1], [Example(0, one.text, ((answer, 1.0),))], slice(0, 1), 0.0, 1)
            expected += weight * task(alone)["vqa"].item() / 2
    assert task(whole)["vqa"].item() == pytest.approx(expected, abs=1e-5)


def test_gradient_checkpointing_changes_no_gradient(folders: dict[Task, Path], examples: Make) -> None:
    found, gradients = examples("match"), []
    for checkpointing in (False, True):
        start = open_start("match", folders["match"], name="tiny")
        changed = recipe(checkpointing=checkpointing)
        module = task_for(changed, start, found.train).train()
        layers = [*start.network.vision_model.encoder.layers, *start.network.text_encoder.encoder.layer]
        assert all(layer.gradient_checkpointing is checkpointing for layer in layers)
        torch.stack(list(module(batch_of(start, found, [0, 5, 9])).values())).sum().backward()
        gradients.append({name: weight.grad for name, weight in module.named_parameters()})
    plain, checkpointed = gradients
    assert all(torch.allclose(plain[name], checkpointed[name], atol=1e-6) for name in plain)


def test_dropout_is_that_of_the_recipe(start: Start, examples: Make) -> None:
    found = examples("match")
    batch = batch_of(start, found, [0, 5, 9])
    still = task_for(recipe(), start, found.train).train()
    assert still(batch)["itc"].item() == still(batch)["itc"].item()
    dropping = task_for(recipe(dropout=0.5), start, found.train).train()
    assert dropping(batch)["itc"].item() != dropping(batch)["itc"].item()
