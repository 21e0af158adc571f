from __future__ import annotations

import math

import pytest
import torch

from retrieval.training.losses import (
    IGNORED,
    contrastive_loss,
    hard_negatives,
    matching_loss,
    next_word_loss,
    word_loss,
)


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


def test_a_true_pair_is_never_a_hard_negative() -> None:
    similarities = torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.9, 0.8], [0.1, 0.8, 0.9]])
    truth = torch.tensor([[True, True, False], [False, True, False], [False, True, True]])
    generator = torch.Generator().manual_seed(1)
    drawn = [hard_negatives(similarities, truth, 0.1, generator).tolist() for _ in range(50)]
    assert {row[0] for row in drawn} == {2}
    assert {row[1] for row in drawn} == {0, 2}
    assert {row[2] for row in drawn} == {0}


def test_only_counted_words_enter_the_next_word_loss() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2] = 50.0
    counted = torch.tensor([[False, False, True]])
    assert next_word_loss(logits, torch.tensor([[0, 1, 2]]), counted) < 1e-6
    assert next_word_loss(logits, torch.tensor([[0, 1, 3]]), counted) > 10


def test_the_contrastive_loss_is_the_mean_of_both_directions() -> None:
    images = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0], [0.5, -1.0]]), dim=-1)
    texts = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0], [1.0, -2.0]]), dim=-1)
    logits = (images @ texts.T / 0.5).tolist()

    def against(row: list[float], at: int) -> float:
        return -math.log(math.exp(row[at]) / sum(map(math.exp, row)))

    columns = [list(column) for column in zip(*logits, strict=True)]
    direct = sum(against(row, at) + against(columns[at], at) for at, row in enumerate(logits)) / 4
    loss = contrastive_loss(images, texts, torch.eye(2, dtype=torch.bool), torch.tensor(0.5))
    assert loss.item() == pytest.approx(direct, abs=1e-6)


def test_matching_is_the_cross_entropy_of_the_second_class() -> None:
    loss = matching_loss(torch.tensor([[1.0, 3.0], [0.0, 2.0]]), torch.tensor([1, 0]))
    direct = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert loss.item() == pytest.approx(direct, abs=1e-6)


def test_words_that_are_not_asked_about_leave_the_word_loss() -> None:
    sure = torch.tensor([[[9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    assert word_loss(sure, torch.tensor([[0, 1, IGNORED]])) < 1e-6
    assert word_loss(sure, torch.tensor([[0, 0, IGNORED]])) > 5
