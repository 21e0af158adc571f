"""What ALBEF minimises, on pictures that can be checked by eye and on a handful of postcards."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from retrieval.training.albef.matching import WRONG, MatchingStretch
from retrieval.training.albef.models import Albef, AlbefSize, fresh_albef
from retrieval.training.captioned import CaptionedPictures, Pairs
from retrieval.training.losses import IGNORED
from retrieval.training.postcards import CaptionedPostcards
from retrieval.training.tower import Tower
from retrieval.training.world.vocabulary import vocabulary, words

FINE = torch.float32
READ = " ".join(["red"] * 30)  # as many words as ALBEF reads


def stretch_of(albef: Albef, hints: Any) -> MatchingStretch:
    return MatchingStretch(albef, FINE, hints=hints, seed=1)


def losses(stretch: MatchingStretch, batch: CaptionedPictures, step: int = 0) -> dict[str, float]:
    return {name: loss.item() for name, loss in stretch.losses(batch, step).items()}


def always(albef: Albef, *logits: float) -> None:
    """Let the match head say the same of every pair."""
    torch.nn.init.zeros_(albef.network.itm_head.weight)
    albef.network.itm_head.bias.data = torch.tensor(logits)


def test_a_few_steps_lower_the_losses_on_a_handful_of_postcards(tower_folder: Path, size: AlbefSize) -> None:
    lessons = CaptionedPostcards(captioned_pictures=4, resolution=32)
    albef = fresh_albef(Tower.open(tower_folder), size, vocabulary(words()), seed=1)
    stretch, batch = stretch_of(albef, lessons.hints), lessons.captioned(0)
    optimiser = torch.optim.AdamW(stretch.trained.parameters(), lr=3e-3)
    before = losses(stretch, batch)
    for _ in range(12):
        optimiser.zero_grad()
        torch.stack(list(stretch.losses(batch, 0).values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    after = losses(stretch, batch)
    assert set(after) == {"itc", "itm", *lessons.hints}
    assert after["itc"] < before["itc"] - 0.1
    assert after["itm"] < before["itm"]
    assert sum(after.values()) < 0.8 * sum(before.values())


def test_a_step_depends_on_seed_and_step_alone(albef: Albef, lessons: Any) -> None:
    stretch = stretch_of(albef, lessons.hints)
    assert losses(stretch, lessons.captioned(3), 3) == losses(stretch, lessons.captioned(3), 3)


def test_the_tower_gets_no_gradient_and_the_rest_does(albef: Albef, lessons: Any) -> None:
    stretch = stretch_of(albef, lessons.hints)
    torch.stack(list(stretch.losses(lessons.captioned(0), 0).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in albef.network.vision_model.parameters())
    assert all(weight.grad is not None for weight in stretch.trained.parameters())
    own = {id(weight) for weight in stretch.trained.parameters()}
    untrained = {name for name, weight in albef.network.named_parameters() if id(weight) not in own}
    assert all(name.startswith("vision_model.") for name in untrained)


def test_half_of_what_is_compared_beside_the_pairs_is_chosen_as_hard(albef: Albef, lessons: Any) -> None:
    """Six pictures: six true pairs, six false ones, three texts for pictures and three pictures for texts."""
    batch = replace(lessons.captioned(0), truth=torch.eye(6, dtype=torch.bool))
    captions = [f"{text} {number * 'a '}" for number, text in enumerate(batch.captions)]  # no two read alike
    batch = replace(batch, captions=captions, pairs=replace(batch.pairs, texts=[*captions, *batch.pairs.texts[6:]]))
    always(albef, 0.0, 1.0)
    right, false = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    found = losses(stretch_of(albef, lessons.hints), batch)
    assert found["itm"] == pytest.approx((6 * right + 12 * false) / 18, abs=1e-5)


def test_what_is_false_behind_the_words_that_are_read_is_true(albef: Albef, lessons: Any) -> None:
    """Two pictures and two captions that are true of both: pairs alone are compared, and none is false."""
    batch = lessons.captioned(0)
    pairs = Pairs([f"{READ} left", f"{READ} right"], [0, 0], [True, False])
    batch = CaptionedPictures(batch.pixels[:2], [READ, READ], [0, 1], torch.ones(2, 2, dtype=torch.bool), pairs)
    always(albef, 0.0, 1.0)
    found = losses(stretch_of(albef, lessons.hints), batch)
    assert found["itm"] == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-5)
    assert found["itc"] == pytest.approx(0)  # nothing to choose from but what is true


def test_a_hint_is_learned_at_its_own_token_after_the_text_has_looked(albef: Albef, lessons: Any) -> None:
    """Texts of different lengths; the third has one hint, the others none."""
    stretch, batch, network = stretch_of(albef, {"wrong": 2}), lessons.captioned(0), albef.network
    labels = torch.full((3, 5), IGNORED)
    labels[2, 3] = 1
    pairs = Pairs(["red", "red left blue right on the left", "red left blue right"], [0, 1, 2], [False] * 3)
    found = losses(stretch, replace(batch, pairs=replace(pairs, hints={"wrong": labels})))
    ids = torch.tensor([albef.reader.encoder_ids(pairs.texts[2])])
    tokens = network.vision_model(batch.pixels).last_hidden_state
    states = network.read(ids, torch.ones_like(ids))
    looked = network.text_encoder.layers[1](states, torch.ones(1, 1, 1, 5, dtype=torch.bool), tokens[2:3])
    wanted = cross_entropy(stretch.hints["wrong"](looked[0, 3:4]), torch.tensor([1]))
    assert found["wrong"] == pytest.approx(WRONG * wanted.item(), abs=1e-4)


def test_words_that_are_not_read_are_asked_nothing(albef: Albef, lessons: Any) -> None:
    """The labelled word is the 31st, and another text, whose words have pieces, is longer."""
    batch, longer = lessons.captioned(0), " ".join(["red?"] * 20)
    labels = torch.full((2, 40), IGNORED)
    labels[0, 31] = 1
    pairs = Pairs([f"{READ} left", longer], [0, 1], [False] * 2, {"side": labels})
    assert losses(stretch_of(albef, lessons.hints), replace(batch, pairs=pairs))["side"] == 0
