"""Stage one: the losses against direct formulas, and who sees whom."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from retrieval.models.blip2 import pair_states, query_states, text_states
from retrieval.training.captioned import Pairs
from retrieval.training.losses import IGNORED, hard_negatives, pair_contrast
from retrieval.training.sibling.forward import ask, compare, tell
from retrieval.training.sibling.models import Sibling
from retrieval.training.sibling.qformer import QFormerStretch, greatest_cosines

IMAGE_TOKENS = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(3))
SIDES = {"side": torch.tensor([[IGNORED, 0, IGNORED, 1]])}
IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 7, 6, 3, 0]])


def losses(stretch: QFormerStretch, batch: Any, step: int = 0) -> dict[str, float]:
    return {name: loss.item() for name, loss in stretch.losses(batch, step).items()}


def test_the_similarity_of_a_pair_is_that_of_its_best_query() -> None:
    images = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.6, 0.8]]])
    texts = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert torch.allclose(greatest_cosines(images, texts), torch.tensor([[1.0, 1.0], [0.8, 0.6]]))


def test_with_one_text_each_the_contrast_is_the_papers() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    own = torch.eye(4, dtype=torch.bool)
    target = torch.arange(4)
    wanted = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    assert pair_contrast(logits, target, own).item() == pytest.approx(wanted.item())


def test_what_else_is_true_is_no_negative() -> None:
    # Text 1 is of picture 1 and true of picture 0 as well.
    logits = torch.tensor([[1.0, 5.0], [0.0, 2.0]])
    truth = torch.tensor([[True, True], [False, True]])
    of_pictures = (0.0 + math.log(1 + math.exp(0.0 - 2.0))) / 2
    of_texts = (math.log(1 + math.exp(0.0 - 1.0)) + 0.0) / 2
    wanted = (of_pictures + of_texts) / 2
    assert pair_contrast(logits, torch.tensor([0, 1]), truth).item() == pytest.approx(wanted)


def test_several_texts_of_one_picture_do_not_compete() -> None:
    logits = torch.tensor([[3.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    truth = torch.tensor([[True, True, False], [False, False, True]])
    alone = pair_contrast(logits[:, 1:], torch.tensor([0, 1]), truth[:, 1:])
    both = pair_contrast(logits, torch.tensor([0, 0, 1]), truth)
    # A picture with two texts chooses each of them among itself and the strangers: log(1 + e^-3), as with one text.
    assert both.item() == pytest.approx(((2 * alone_row(1) + alone_row(2)) / 3 + 3 * alone_row(1) / 3) / 2)
    assert alone.item() == pytest.approx(alone_row(1))


def alone_row(strangers: int) -> float:
    return math.log(1 + strangers * math.exp(-3.0))


@torch.no_grad()
def test_a_told_word_depends_on_the_picture_and_on_its_past_alone(sibling: Sibling) -> None:
    model = sibling.itm
    later = IDS.clone()
    later[:, 3] = 9
    one, changed = (tell(model, ask(model, IMAGE_TOKENS), ids) for ids in (IDS, later))
    elsewhere = tell(model, ask(model, IMAGE_TOKENS.flip(0)), IDS)
    assert torch.allclose(one[:, :3], changed[:, :3], atol=1e-6)
    assert (one[:, 3] - changed[:, 3]).abs().max() > 1e-4
    assert (one - elsewhere).abs().max() > 1e-4


@torch.no_grad()
def test_padding_changes_no_state_of_a_told_word(sibling: Sibling) -> None:
    model = sibling.itm
    long, short = tell(model, ask(model, IMAGE_TOKENS), IDS), tell(model, ask(model, IMAGE_TOKENS[1:]), IDS[1:, :4])
    assert torch.allclose(long[1:, :4], short, atol=1e-6)


@torch.no_grad()
def test_the_three_losses_are_those_of_one_text_at_a_time(sibling: Sibling, lessons: Any) -> None:
    """Texts of different lengths: nothing that is sorted, padded or shared shows in the losses."""
    model, batch = sibling.itm, lessons.captioned(0)
    captions = [f"{caption} {'on the left ' * number}" for number, caption in enumerate(batch.captions)]
    told = Pairs([*captions, *batch.pairs.texts[6:]], [*range(6), 3, 1, 2, 0, 5, 4], batch.pairs.matches, SIDES)
    batch = replace(batch, captions=captions, truth=torch.eye(6, dtype=torch.bool), pairs=told)
    stretch = QFormerStretch(model, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    found = losses(stretch, batch)
    words = sibling.vocabulary
    tokens = model.vision_model(batch.pixels).last_hidden_state
    ids = [torch.tensor([words.sequence(text, first=words.cls, length=40)]) for text in captions]
    texts = torch.cat([model.text_projection(text_states(model, one, torch.ones_like(one))[:, 0]) for one in ids])
    images = normalize(model.vision_projection(query_states(model, tokens)), dim=-1)
    similarities = greatest_cosines(images, normalize(texts, dim=-1))
    assert found["itc"] == pytest.approx(
        pair_contrast(similarities / 0.07, torch.arange(6), batch.truth).item(), abs=1e-4
    )

    generator = torch.Generator().manual_seed(1_000_003)
    pictures = hard_negatives(similarities.T, batch.truth.T, 0.1, generator).tolist()
    negatives = hard_negatives(similarities, batch.truth, 0.1, generator).tolist()
    every = [torch.tensor([words.sequence(text, first=words.cls, length=40)]) for text in told.texts]
    pairs = [(row, one, int(match)) for row, one, match in zip(told.rows, every, told.matches, strict=True)]
    pairs += [(row, ids[negatives[row]], 0) for row in (0, 2, 4)]
    pairs += [(pictures[row], ids[row], 0) for row in (1, 3, 5)]
    of_pairs = [
        cross_entropy(
            model.itm_head(pair_states(model, tokens[row : row + 1], one, torch.ones_like(one))).mean(dim=1),
            torch.tensor([label]),
        ).item()
        for row, one, label in pairs
    ]
    assert found["itm"] == pytest.approx(sum(of_pairs) / len(of_pairs), abs=1e-4)

    total = count = 0.0
    for row, one in enumerate(ids):
        one[0, 0] = words.dec
        states = tell(model, ask(model, tokens[row : row + 1]), one)[0, :-1]
        logits = stretch.word_head(states, model.embeddings.word_embeddings.weight)
        total += cross_entropy(logits, one[0, 1:], reduction="sum").item()
        count += one.shape[1] - 1
    assert found["itg"] == pytest.approx(total / count, abs=1e-4)


def test_stage_one_has_three_losses_that_begin_where_chance_is(sibling: Sibling, lessons: Any) -> None:
    stretch = QFormerStretch(sibling.itm, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    found = losses(stretch, lessons.captioned(0))
    assert set(found) == {"itc", "itm", "itg", "side"}
    assert found["itg"] == pytest.approx(math.log(len(sibling.tokens)), abs=0.5)
    assert 0.3 < found["itm"] < 1.2


def test_the_match_loss_counts_the_pairs_of_the_batch_and_hard_ones(sibling: Sibling, lessons: Any) -> None:
    stretch = QFormerStretch(sibling.itm, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    batch = lessons.captioned(0)
    head = sibling.itm.itm_head
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 1.0])  # believes every pair the same
    no, yes = math.log(1 + math.e), math.log(1 + math.exp(-1))
    true_ones = Pairs(batch.captions, range(6), [True] * 6)
    with_false, without = losses(stretch, batch), losses(stretch, replace(batch, pairs=true_ones))
    # Six true pairs, six false ones, and six hard ones: all false, for no batch is all of one kind.
    assert with_false["itm"] == pytest.approx((6 * yes + 12 * no) / 18, abs=1e-5)
    assert without["itm"] == pytest.approx((6 * yes + 6 * no) / 12, abs=1e-5)


@torch.no_grad()
def test_a_hint_is_learned_at_its_own_token(sibling: Sibling, lessons: Any) -> None:
    """Texts of different lengths; the third text has one hint, the others none."""
    stretch = QFormerStretch(sibling.itm, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    batch, words = lessons.captioned(0), sibling.vocabulary
    sides = torch.full((3, 4), IGNORED)
    sides[2, 3] = 1
    pairs = Pairs(["red", "red left blue right on the left", "red left blue right"], [0, 1, 2], [False] * 3)
    found = losses(stretch, replace(batch, pairs=replace(pairs, hints={"side": sides})))
    ids = torch.tensor([words.sequence(pairs.texts[2], first=words.cls, length=40)])
    tokens = sibling.itm.vision_model(batch.pixels).last_hidden_state
    states = compare(sibling.itm, tokens, torch.tensor([2]), ids, torch.ones_like(ids))[1][0]
    wanted = cross_entropy(stretch.hints["side"](states[0, 3:4]), torch.tensor([1]))
    assert found["side"] == pytest.approx(wanted.item(), abs=1e-5)
    nothing = losses(stretch, replace(batch, pairs=replace(pairs, hints={"side": sides.fill_(IGNORED)})))
    assert nothing["side"] == 0


def test_a_batch_in_which_everything_is_true_has_no_negatives(sibling: Sibling, lessons: Any) -> None:
    stretch = QFormerStretch(sibling.itm, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    batch = lessons.captioned(0)
    told = Pairs(batch.captions, range(6), [True] * 6)
    everything = replace(batch, truth=torch.ones_like(batch.truth), pairs=told)
    head = sibling.itm.itm_head
    torch.nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 1.0])
    assert losses(stretch, everything)["itm"] == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-5)


def test_the_tower_gets_no_gradient_and_the_rest_of_stage_one_does(sibling: Sibling, lessons: Any) -> None:
    stretch = QFormerStretch(sibling.itm, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    torch.stack(list(stretch.losses(lessons.captioned(0), 0).values())).sum().backward()
    assert all(weight.grad is None for weight in sibling.itm.vision_model.parameters())
    assert all(weight.grad is not None for weight in stretch.trained.parameters())
    own = {id(weight) for weight in stretch.trained.parameters()}
    untrained = {name for name, weight in sibling.itm.named_parameters() if id(weight) not in own}
    assert all(name.startswith("vision_model.") for name in untrained)


def test_a_step_depends_on_seed_and_step_alone(sibling: Sibling, lessons: Any) -> None:
    stretch = QFormerStretch(sibling.itm, sibling.vocabulary, torch.float32, hints=lessons.hints, seed=1)
    assert losses(stretch, lessons.captioned(3), 3) == losses(stretch, lessons.captioned(3), 3)
