from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.training.batches import patch_labels, pixels_of, truths
from retrieval.training.blip import Size, fresh_models, open_models
from retrieval.training.claims import parse
from retrieval.training.loop import Recipe, rate_share, train
from retrieval.training.losses import IGNORED, contrastive_loss, hard_negatives, next_word_loss, word_loss
from retrieval.training.phases import MatchPhase, word_labels
from retrieval.training.scenes import Scene, Thing
from retrieval.training.vocabulary import Words, vocabulary, words

CPU = torch.device("cpu")
TINY = Size(resolution=32, patch=16, width=16, heads=2, vision_layers=1, text_layers=1, embedding=8)
RECIPE = Recipe(batch=6, steps=(4, 2, 2), itc_alone=0.5, warmup=2, save_every=1, size=TINY)


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
    steps = [(line["phase"], line["step"]) for line in losses(tmp_path)]
    assert steps == [("match", n) for n in range(4)] + [("caption", n) for n in range(2)] + [
        ("vqa", n) for n in range(2)
    ]
    assert ["itm" in line for line in losses(tmp_path)] == [False, False, True, True, False, False, False, False]
    assert all(math.isfinite(value) for line in losses(tmp_path) for value in line.values() if isinstance(value, float))


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    assert train(RECIPE, tmp_path / "whole", device=CPU)
    stops = 0
    while not train(RECIPE, tmp_path / "parts", device=CPU, minutes=0):
        stops += 1
    assert stops >= 5  # no time at all is one step a call
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_a_killed_run_did_after_its_last_checkpoint_is_done_again(tmp_path: Path) -> None:
    train(RECIPE, tmp_path / "whole", device=CPU)
    train(RECIPE, tmp_path / "killed", device=CPU, minutes=0)
    log = tmp_path / "killed" / "losses.jsonl"
    log.write_text(log.read_text() + json.dumps({"phase": "match", "step": 1, "seconds": 0.0}) + "\n")
    train(RECIPE, tmp_path / "killed", device=CPU)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_a_run_can_begin_with_the_matcher_of_another(tmp_path: Path) -> None:
    train(replace(RECIPE, steps=(2, 0, 0)), tmp_path / "one", device=CPU)
    still = replace(RECIPE, seed=2, steps=(1, 0, 0), rates=(0.0, 0.0, 0.0))
    train(still, tmp_path / "two", device=CPU, start=tmp_path / "one" / "models")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("itm "))


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=(1, 0, 0))
    train(recipe, tmp_path / "one", device=CPU)
    train(replace(recipe, seed=2), tmp_path / "two", device=CPU)
    assert losses(tmp_path / "one") != losses(tmp_path / "two")


def test_the_losses_fall(tmp_path: Path) -> None:
    train(replace(RECIPE, steps=(0, 30, 0), rates=(0.0, 5e-3, 0.0)), tmp_path, device=CPU)
    fall = [line["caption"] for line in losses(tmp_path)]
    assert sum(fall[-5:]) < 0.8 * sum(fall[:5])


def test_captions_start_from_the_matchers_weights(tmp_path: Path) -> None:
    train(replace(RECIPE, steps=(2, 1, 1), rates=(1e-3, 0.0, 0.0)), tmp_path, device=CPU)
    found = weights(tmp_path)
    for model in ("caption", "vqa"):
        for name in [key.removeprefix("itm ") for key in found if key.startswith("itm vision_model.")]:
            assert torch.equal(found[f"itm {name}"], found[f"{model} {name}"])
    layer = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(found[f"itm text_encoder.{layer}"], found[f"caption text_decoder.bert.{layer}"])
    assert torch.equal(found[f"itm text_encoder.{layer}"], found[f"vqa text_encoder.{layer}"])


def test_true_pairs_off_the_diagonal_are_no_negatives() -> None:
    images = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), dim=-1)
    temperature, own = torch.tensor(0.1), torch.eye(3, dtype=torch.bool)
    twins = own.clone()
    twins[0, 1] = twins[1, 0] = True
    assert contrastive_loss(images, images, own, temperature) > 0.3
    assert contrastive_loss(images, images, twins, temperature) < 0.01


def test_texts_of_no_picture_are_negatives_unless_they_are_true() -> None:
    images = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), dim=-1)
    texts = torch.cat([images, images])
    temperature = torch.tensor(0.1)
    own = torch.tensor([[True, False, False, False], [False, True, False, False]])
    twice = torch.tensor([[True, False, True, False], [False, True, False, True]])
    assert contrastive_loss(images, texts, own, temperature) == pytest.approx(math.log(2) / 2, abs=0.01)
    assert contrastive_loss(images, texts, twice, temperature) < 0.01


def test_patch_labels_say_what_lies_where() -> None:
    nouns, tints = patch_labels([Scene("paper", (Thing("penguin", "orange", 0, 1, scale=0.3),))], 8)
    assert nouns.reshape(1, 8, 8).nonzero().tolist() == [[0, row, column] for row in (3, 4) for column in (0, 1, 2)]
    assert set(nouns.tolist()[0]) == {0, 1}
    assert set(tints.tolist()[0]) == {0, 2}


def test_a_true_pair_is_never_a_hard_negative() -> None:
    similarities = torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.9, 0.8], [0.1, 0.8, 0.9]])
    truth = torch.tensor([[True, True, False], [False, True, False], [False, True, True]])
    generator = torch.Generator().manual_seed(1)
    drawn = [hard_negatives(similarities, truth, 0.1, generator).tolist() for _ in range(50)]
    assert {row[0] for row in drawn} == {2}
    assert {row[1] for row in drawn} == {0, 2}
    assert {row[2] for row in drawn} == {0}


def test_truths_says_which_captions_are_true_of_which_scenes() -> None:
    car, cat = Thing("car", "red", 0, 0), Thing("cat", "blue", 2, 0)
    scenes = [Scene("beach", (car, cat)), Scene("snow", (car,))]
    claims = [parse(text) for text in ("a red car", "a car left of a cat", "a cat left of a car", "a car in the snow")]
    assert truths(claims, scenes).tolist() == [[True, True, False, False], [True, False, False, True]]


def test_word_labels_mark_the_wrong_words_and_leave_out_the_rest() -> None:
    labels = word_labels([parse("a red car")], [parse("a blue car")], 6)
    assert labels.tolist() == [[IGNORED, 0, 0, 0, IGNORED, IGNORED], [IGNORED, 0, 1, 0, IGNORED, IGNORED]]
    sure = torch.tensor([[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [9.0, -9.0], [0.0, 0.0], [0.0, 0.0]])
    assert word_loss(sure[None], labels[1:]) < 1e-6


def test_only_counted_words_enter_the_next_word_loss() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = 50.0
    counted = torch.tensor([[False, False, True]])
    assert next_word_loss(logits, torch.tensor([[0, 1, 2]]), counted) < 1e-6
    assert next_word_loss(logits, torch.tensor([[0, 1, 3]]), counted) > 10


def test_the_rate_rises_and_falls_to_nothing() -> None:
    assert rate_share(0, 100, 10) == pytest.approx(0.1)
    assert rate_share(9, 100, 10) == pytest.approx(1.0)
    assert rate_share(55, 100, 10) == pytest.approx(0.5)
    assert rate_share(99, 100, 10) < 0.001


def test_a_step_depends_on_seed_and_step_alone() -> None:
    tokens = vocabulary(words())

    def loss(step: int) -> float:
        model = fresh_models(TINY, tokens, seed=1).itm
        phase = MatchPhase(model, Words(tokens, CPU), seed=1, batch=4, matching_from=99)
        return phase.losses(step).total.item()

    assert loss(3) == loss(3)
    assert loss(3) != loss(4)


def test_pixels_are_normalised_at_the_size_of_the_model() -> None:
    pixels = pixels_of([Scene("paper", (Thing("ball", "red", 1, 1),))], 32)
    assert pixels.shape == (1, 3, 32, 32)
    assert -3 < pixels.min() < pixels.max() < 3
