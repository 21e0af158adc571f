"""The passes of training give what the model that serves users gives."""

from __future__ import annotations

import pytest
import torch

from retrieval.models.albef import AlbefNetwork
from retrieval.training.albef.forward import fuse, read
from retrieval.training.albef.models import Albef

FINE = torch.float32
TOKENS = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(3))
IDS = torch.tensor([[2, 5, 6, 7, 8], [2, 7, 6, 8, 0], [2, 9, 5, 0, 0], [2, 8, 11, 10, 7]])
MASK = (IDS != 0).long()
ROWS = torch.tensor([2, 0, 0, 1])


@pytest.fixture
def network(albef: Albef) -> AlbefNetwork:
    generator = torch.Generator().manual_seed(4)
    for name, weight in albef.network.named_parameters():
        if name.endswith("bias"):  # they begin at zero, where a bias that is left out does not show
            torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return albef.network


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_texts_are_read_without_a_picture_as_users_texts_are(network: AlbefNetwork) -> None:
    near(read(network, IDS, MASK, FINE)[MASK.bool()], network.read(IDS, MASK)[MASK.bool()])


@torch.no_grad()
def test_texts_look_at_pictures_as_users_texts_do(network: AlbefNetwork) -> None:
    states = network.read(IDS, MASK)
    *between, last = fuse(network, states, MASK, TOKENS, ROWS)
    assert [len(one[0]) for one in between] == [5]
    near(last[:, 0], network.fuse(states, MASK, TOKENS[ROWS])[:, 0])


def test_gradients_are_those_of_the_served_model(network: AlbefNetwork) -> None:
    weights = dict(network.text_encoder.named_parameters())
    ours = fuse(network, read(network, IDS, MASK, FINE), MASK, TOKENS, ROWS)[-1][:, 0]
    theirs = network.fuse(network.read(IDS, MASK), MASK, TOKENS[ROWS])[:, 0]
    found = [torch.autograd.grad(states.square().sum(), list(weights.values())) for states in (ours, theirs)]
    for name, one, other in zip(weights, *found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4, msg=name)


@torch.no_grad()
def test_bfloat16_is_close_to_float32(network: AlbefNetwork) -> None:
    fine, rough = (
        fuse(network, read(network, IDS, MASK, dtype), MASK, TOKENS.to(dtype), ROWS)[-1]
        for dtype in (FINE, torch.bfloat16)
    )
    assert rough.dtype == torch.bfloat16
    assert 0 < (fine - rough.float()).abs().max() < 0.1
