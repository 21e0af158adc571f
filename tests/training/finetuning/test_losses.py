"""Every loss against its formula, written out over tiny tensors in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from retrieval.training.finetuning.losses import (
    IGNORED,
    contrastive_loss,
    hard_negatives,
    matching_loss,
    shared_targets,
    softened,
    word_losses,
)

TO_TEXTS = [[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]]
TO_IMAGES = [[1.0, -2.0, 0.0], [0.0, 3.0, 1.0]]


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def cross_entropy(logits: list[list[float]], targets: list[list[float]]) -> float:
    rows = [
        -sum(t * math.log(p) for t, p in zip(target, softmax(row), strict=True))
        for row, target in zip(logits, targets, strict=True)
    ]
    return sum(rows) / len(rows)


def test_itc_is_the_mean_of_both_directions_cross_entropies() -> None:
    text_targets, image_targets = [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]
    loss = contrastive_loss(*map(torch.tensor, (TO_TEXTS, TO_IMAGES, text_targets, image_targets)))
    expected = (cross_entropy(TO_TEXTS, text_targets) + cross_entropy(TO_IMAGES, image_targets)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_what_is_true_of_a_row_shares_its_target() -> None:
    truth = torch.tensor([[True, True, False, False], [False, False, True, False]])
    assert shared_targets(truth).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 1, 0]]


def test_soft_targets_are_a_mixture_with_the_momentum_encoders_distribution() -> None:
    mixed = softened(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([TO_TEXTS[1]]), 0.4)
    expected = [0.4 * p + 0.6 * t for p, t in zip(softmax(TO_TEXTS[1]), (1, 0, 0), strict=True)]
    assert mixed[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_itm_is_the_mean_cross_entropy_of_the_pairs() -> None:
    logits, labels = [[0.3, 1.2], [2.0, -1.0], [0.0, 0.0]], [1, 0, 0]
    loss = matching_loss(torch.tensor(logits), torch.tensor(labels))
    expected = -sum(math.log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True)) / 3
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_a_pair_without_a_negative_adds_nothing_to_itm() -> None:
    logits = torch.tensor([[0.3, 1.2], [2.0, -1.0]])
    with_ignored = matching_loss(logits, torch.tensor([1, IGNORED]))
    assert with_ignored.item() == pytest.approx(-math.log(softmax([0.3, 1.2])[1]) / 2, abs=1e-6)


def test_the_words_of_a_text_are_predicted_one_place_later_with_label_smoothing() -> None:
    logits = [[[0.1, 0.2, 0.9], [1.0, 0.0, -1.0], [5.0, 5.0, 5.0]]]
    targets = [[IGNORED, 2, 0]]
    # A smoothed target holds 0.9 for the word and 0.1 spread over all three.
    expected = 0.0
    for row, word in ((logits[0][0], 2), (logits[0][1], 0)):
        smoothed = [0.9 * (at == word) + 0.1 / 3 for at in range(3)]
        expected -= sum(t * math.log(p) for t, p in zip(smoothed, softmax(row), strict=True))
    assert word_losses(torch.tensor(logits), torch.tensor(targets)).tolist() == pytest.approx([expected], abs=1e-5)


def test_words_before_the_caption_are_not_scored() -> None:
    logits, targets = torch.randn(1, 4, 5), torch.tensor([[1, 2, 3, 4]])
    last_only = word_losses(logits, torch.tensor([[IGNORED, IGNORED, IGNORED, 4]]))
    assert last_only.item() < word_losses(logits, targets).item()


def test_hard_negatives_are_never_true_and_come_by_their_softmax() -> None:
    logits = torch.tensor([[9.0, 1.0, 0.0, 1.0]]).expand(20_000, 4)
    truth = torch.tensor([[True, False, False, False]]).expand(20_000, 4)
    drawn = hard_negatives(logits, truth, torch.rand(20_000, generator=torch.Generator().manual_seed(1)))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    expected = [0.0, *softmax([1.0, 0.0, 1.0])]
    assert shares.tolist() == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("die", [0.0, 0.5, 1 - 2**-24])
def test_no_die_throws_a_true_column(die: float) -> None:
    truth = torch.tensor([[True, False, True], [False, True, True], [True, True, False]])
    drawn = hard_negatives(torch.zeros(3, 3), truth, torch.full((3,), die))
    assert drawn.tolist() == [1, 0, 2]


def test_where_everything_is_true_there_is_no_negative() -> None:
    assert hard_negatives(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1)).tolist() == [-1]
