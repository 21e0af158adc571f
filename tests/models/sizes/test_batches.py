"""A result belongs to its picture and its text: neither company nor padding changes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

WORDS = ("dog", "tree", "red", "ball", "near", "the")
# Every sum may run in another order in a larger batch.
SAME = 1e-6


@pytest.fixture(scope="module", params=["albef", "blip", "blip2"])
def model(request: pytest.FixtureRequest, families: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    family = families[request.param]
    opened, _ = family.made(tmp_path_factory.mktemp("model"), family.sizes(layers=3), seed=5)
    return opened


@pytest.fixture
def tokens(model: Any) -> torch.Tensor:
    return model.look(pixels(5))


def pixels(count: int) -> torch.Tensor:
    return torch.randn((count, 3, 32, 32), generator=torch.Generator().manual_seed(2))


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=SAME)


def test_a_picture_has_the_same_vectors_alone_and_in_company(model: Any, tokens: torch.Tensor) -> None:
    alone = torch.cat([model.look(pixels(5)[i : i + 1]) for i in range(5)])
    close(alone / tokens.abs().amax(), tokens / tokens.abs().amax())
    close(torch.cat([model.project_images(alone[i : i + 1]) for i in range(5)]), model.project_images(tokens))


def test_a_text_has_the_same_vector_alone_and_beside_longer_ones(model: Any) -> None:
    texts = [" ".join(WORDS[:count]) for count in range(1, 7)]
    close(model.encode_texts(texts), np.concatenate([model.encode_texts([text]) for text in texts]))


def test_a_pair_has_the_same_logits_alone_and_in_company(model: Any, tokens: torch.Tensor) -> None:
    texts = [" ".join(WORDS[:count]) for count in range(1, 7)]
    pairs = np.array([(image, text) for text in range(6) for image in range(5)], dtype=np.int64)
    together = model.match(tokens.numpy(), texts, pairs)
    backwards = model.match(tokens.numpy(), texts, pairs[::-1].copy())
    close(backwards[::-1], together)
    alone = [
        model.match(tokens[i : i + 1].numpy(), [texts[j]], np.zeros((1, 2), dtype=np.int64)) for i, j in pairs[::5]
    ]
    close(np.concatenate(alone), together[::5])


@pytest.mark.parametrize("filler", [0, 7])
def test_padding_counts_for_nothing_whatever_its_length_and_its_ids(
    filler: int, model: Any, tokens: torch.Tensor
) -> None:
    ids, mask = model.padded([model.encoder_ids("red ball"), model.encoder_ids("dog")])
    asked, heard = model.padded([model.matcher_ids("red ball"), model.matcher_ids("dog")])
    texts, logits = model.project_texts(ids, mask), model.compare(tokens[:2], asked, heard)
    for length in (1, 20):
        rest, none = torch.full((2, length), filler), torch.zeros((2, length), dtype=torch.long)
        more = [torch.cat(parts, dim=1) for parts in ((ids, rest), (mask, none), (asked, rest), (heard, none))]
        close(model.project_texts(more[0], more[1]), texts)
        close(model.compare(tokens[:2], more[2], more[3]), logits)
