"""The folder of an ALBEF: the tower is not in it, and it does what the trained network did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from retrieval.models.albef import AlbefRetrieval
from retrieval.models.checkpoints import RETRIEVAL
from retrieval.models.load import load_encoder, load_matcher
from retrieval.models.resolve import resolve
from retrieval.training.albef.models import Albef, AlbefSize, fresh_albef, save_albef, without_tower
from retrieval.training.tower import PREFIX, Tower
from retrieval.types import Float32

TEXTS = ["red left blue right", "green", "Blue, on the left!"]


@pytest.fixture
def saved(albef: Albef, tower_folder: Path, tmp_path: Path) -> Path:
    """The ALBEF beside its parent, as they are bundled."""
    shutil.copytree(tower_folder, tmp_path / "parent")
    save_albef(albef, tmp_path / "albef", tower=tmp_path / "parent" / "tower" / "model.safetensors")
    return tmp_path / "albef"


def near(ours: Float32, theirs: Float32) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_the_tower_is_in_the_parents_file_alone(saved: Path) -> None:
    assert [file.relative_to(saved).as_posix() for file in saved.rglob("*.safetensors")] == [
        "itm/model-own.safetensors"
    ]
    with safe_open(saved / "itm" / "model-own.safetensors", "pt") as stored:
        assert not any(key.startswith(PREFIX) for key in stored.keys())  # noqa: SIM118
    places = json.loads((saved / "itm" / "model.safetensors.index.json").read_text())["weight_map"]
    assert {place for key, place in places.items() if key.startswith(PREFIX)} == {
        "../../parent/tower/model.safetensors"
    }


def test_the_saved_folder_gives_the_numbers_of_the_trained_network(saved: Path, albef: Albef) -> None:
    opened = AlbefRetrieval.open(saved / "itm", name="opened", device="cpu")
    for weight in albef.network.parameters():
        weight.data = weight.data.half().float()  # a folder holds halves
    trained = albef.reader
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    tokens, pairs = trained.image_tokens(pixels), np.array([[0, 0], [1, 1], [2, 2], [0, 2]])
    near(opened.encode_images(pixels), trained.encode_images(pixels))
    near(opened.encode_texts(TEXTS), trained.encode_texts(TEXTS))
    near(opened.match(tokens, TEXTS, pairs), trained.match(tokens, TEXTS, pairs))


def test_a_folder_says_that_it_is_an_albef_that_finds_and_compares(saved: Path) -> None:
    described = resolve(str(saved))
    assert (described.family, described.roles, described.protocol) == ("albef", RETRIEVAL, "itm")
    encoder = load_encoder(described, device="cpu", offline=True)
    assert (encoder.vectors, encoder.dimension, encoder.image_size) == (1, 16, 32)
    assert load_matcher(described, device="cpu", offline=True) is encoder


def test_a_text_is_read_to_its_thirtieth_word(saved: Path) -> None:
    opened = AlbefRetrieval.open(saved / "itm", name="opened", device="cpu")
    assert opened.text_length == 40
    long = " ".join(["red"] * 29)
    one, other, same = opened.encode_texts([f"{long} left", f"{long} right", f"{long} left blue"])
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, same)


def test_the_same_seed_gives_the_same_weights_and_the_tower_is_not_trained(
    tower_folder: Path, size: AlbefSize, tokens: list[str]
) -> None:
    tower = Tower.open(tower_folder)
    one, two, other = (fresh_albef(tower, size, tokens, seed=seed).network for seed in (1, 1, 2))
    assert torch.equal(one.itm_head.weight, two.itm_head.weight)
    assert not torch.equal(one.itm_head.weight, other.itm_head.weight)
    assert not any(weight.requires_grad for weight in one.vision_model.parameters())


def test_a_network_with_another_tower_is_not_saved_as_if_it_had_this_one(saved: Path, albef: Albef) -> None:
    torch.nn.init.zeros_(albef.network.vision_model.post_layernorm.weight)
    with pytest.raises(ValueError, match="tower"):
        save_albef(albef, saved, tower=saved.parent / "parent" / "tower" / "model.safetensors")


def test_with_six_hundred_words_there_are_less_than_two_million_weights_beside_the_tower(tower_folder: Path) -> None:
    words = [f"word{number}" for number in range(600)]
    made = fresh_albef(Tower.open(tower_folder), AlbefSize(), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words], seed=1)
    assert sum(weight.numel() for weight in without_tower(made.network).parameters()) < 2_000_000
