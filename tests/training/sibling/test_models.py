"""The sibling's folders: one tower on disk, read by transformers and by the models that serve users."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval, BlipForImageTextRetrieval

from retrieval.errors import WeightsMissing
from retrieval.models import hub, weights
from retrieval.models.blip import BlipRetrieval
from retrieval.models.blip2 import Blip2Generator, Blip2Retrieval
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.models.load import load_captioner, load_encoder
from retrieval.models.resolve import resolve
from retrieval.training.sibling.models import (
    Sibling,
    SiblingSize,
    count_weights,
    fresh_sibling,
    save_sibling,
)
from retrieval.training.tower import PREFIX, Tower, share_tower


@pytest.fixture
def saved(sibling: Sibling, tower_folder: Path, tmp_path: Path) -> Path:
    """The sibling beside its parent, as they are bundled."""
    shutil.copytree(tower_folder, tmp_path / "parent")
    save_sibling(sibling, tmp_path / "sibling", tower=tmp_path / "parent" / "tower" / "model.safetensors")
    return tmp_path


def keys(file: Path) -> list[str]:
    with safe_open(file, "pt") as stored:
        return list(stored.keys())


def test_the_tower_lies_on_disk_once(saved: Path) -> None:
    files = sorted(saved.rglob("*.safetensors"))
    assert [file.relative_to(saved).as_posix() for file in files] == [
        "parent/itm/model-own.safetensors",
        "parent/tower/model.safetensors",
        "sibling/itm/model-own.safetensors",
        "sibling/llm/model-own.safetensors",
    ]
    holding = [file for file in files if any(key.startswith(PREFIX) for key in keys(file))]
    assert holding == [saved / "parent" / "tower" / "model.safetensors"]


def test_transformers_opens_every_folder_that_shares_a_tower(saved: Path, tower_folder: Path, sibling: Sibling) -> None:
    tower = Tower.open(tower_folder).state
    opened: dict[str, Any] = {
        "parent/itm": BlipForImageTextRetrieval,
        "sibling/itm": Blip2ForImageTextRetrieval,
        "sibling/llm": Blip2ForConditionalGeneration,
    }
    for part, kind in opened.items():
        model, report = kind.from_pretrained(saved / part, dtype=torch.float32, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        state = model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in tower.items())
    head = sibling.itm.itm_head.weight
    reopened = Blip2ForImageTextRetrieval.from_pretrained(saved / "sibling" / "itm", dtype=torch.float32)
    assert torch.equal(reopened.itm_head.weight, head.half().float())


def test_a_folder_opened_and_saved_by_transformers_stands_alone(saved: Path, tmp_path: Path) -> None:
    Blip2ForImageTextRetrieval.from_pretrained(saved / "sibling" / "itm").save_pretrained(tmp_path / "alone")
    assert [file.name for file in hub.weight_files(tmp_path / "alone")] == ["model.safetensors"]
    one, other = (weights.read_state(folder) for folder in (saved / "sibling" / "itm", tmp_path / "alone"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_tower_of_blip_looks_the_same_in_blip2(saved: Path) -> None:
    parent = BlipRetrieval.open(saved / "parent" / "itm", name="parent", device="cpu")
    sibling = Blip2Retrieval.open(saved / "sibling" / "itm", name="sibling", device="cpu")
    sibling.network.vision_model.post_layernorm.eps = 1e-6  # BLIP's; BLIP-2 has its own
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(sibling.image_tokens(pixels), parent.image_tokens(pixels), rtol=0, atol=2e-6)


def test_the_saved_sibling_does_what_the_trained_one_did(saved: Path, sibling: Sibling) -> None:
    model = Blip2Retrieval.open(saved / "sibling" / "itm", name="sibling", device="cpu")
    rounded = type(sibling.itm)(sibling.itm.config)
    rounded.load_state_dict({key: value.half().float() for key, value in sibling.itm.state_dict().items()})
    rounded.eval().vision_model.post_layernorm.eps = 1e-5
    length = sibling.size.text_positions
    reference = Blip2Retrieval(rounded, sibling.vocabulary, folder=saved, name="reference", text_length=length)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(model.encode_images(pixels), reference.encode_images(pixels), rtol=0, atol=1e-6)
    texts = ["red left blue right", "green"]
    np.testing.assert_allclose(model.encode_texts(texts), reference.encode_texts(texts), rtol=0, atol=1e-6)


def test_a_saved_sibling_plays_all_roles(saved: Path) -> None:
    described = resolve(str(saved / "sibling"))
    assert (described.family, described.image_size, described.roles) == (
        "blip2",
        32,
        CHECKPOINTS["postcards-blip2"].roles,
    )
    checkpoint = replace(CHECKPOINTS["postcards-blip2"], source=saved / "sibling")
    encoder = load_encoder(checkpoint, device="cpu", offline=True)
    assert (encoder.vectors, encoder.dimension) == (3, 16)
    pixels = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    assert len(load_captioner(checkpoint, device="cpu", offline=True).caption(pixels)) == 2


def test_transformers_own_generation_says_what_ours_says(saved: Path, sibling: Sibling) -> None:
    ours = Blip2Generator.open(saved / "sibling" / "llm", name="sibling", device="cpu")
    theirs = Blip2ForConditionalGeneration.from_pretrained(saved / "sibling" / "llm", dtype=torch.float32).eval()
    theirs.vision_model.post_layernorm.eps = 1e-5
    pixels = torch.randn(2, 3, 32, 32)
    text = theirs.config.text_config
    ids = [theirs.config.image_token_index] * 3 + [text.bos_token_id, *ours.spelling.encode("a photo of")]
    settings = {"num_beams": 1, "max_new_tokens": 6}
    generated = theirs.generate(
        pixels, input_ids=torch.tensor([ids] * 2), eos_token_id=text.eos_token_id, pad_token_id=0, **settings
    )
    said = [ours.spelling.decode(row) for row in generated[:, -6:].tolist()]
    assert ours.go_on(ours.look(pixels), "a photo of", settings) == said


def test_the_fingerprint_follows_the_tower_too(saved: Path) -> None:
    before = Blip2Retrieval.open(saved / "sibling" / "itm", name="sibling", device="cpu").fingerprint
    file = saved / "parent" / "tower" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert Blip2Retrieval.open(saved / "sibling" / "itm", name="sibling", device="cpu").fingerprint != before


def test_a_missing_tower_is_missing_weights(saved: Path) -> None:
    (saved / "parent" / "tower" / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match="sibling"):
        load_encoder(resolve(str(saved / "sibling")), offline=True)


def test_a_folder_with_another_tower_keeps_its_own(saved: Path, sibling: Sibling) -> None:
    tower = saved / "parent" / "tower" / "model.safetensors"
    part = saved / "sibling" / "itm"
    other = type(sibling.itm)(sibling.itm.config)
    other.half().save_pretrained(part)
    assert not share_tower(part, tower)
    assert [file.name for file in hub.weight_files(part)] == ["model.safetensors"]
    assert not (part / "model.safetensors.index.json").exists()
    with pytest.raises(ValueError, match="tower"):
        save_sibling(
            Sibling(other, sibling.llm, sibling.tokens, sibling.language_tokens, sibling.size), saved / "x", tower=tower
        )


def test_with_six_hundred_words_the_sibling_has_less_than_three_million_weights(tower_folder: Path) -> None:
    words = [f"word{number}" for number in range(600)]
    tower = Tower.open(tower_folder)
    made = fresh_sibling(tower, SiblingSize(), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "[DEC]"], seed=1)
    assert sum(count_weights(made).values()) < 3_000_000


def test_the_same_seed_gives_the_same_weights_and_the_tower_is_not_trained(
    tower_folder: Path, size: SiblingSize, tokens: list[str]
) -> None:
    one, two, other = (fresh_sibling(Tower.open(tower_folder), size, tokens, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.itm.itm_head.weight, two.itm.itm_head.weight)
    assert not torch.equal(one.itm.itm_head.weight, other.itm.itm_head.weight)
    assert one.itm.query_tokens.std() > 0.01
    for model in one.by_name().values():
        assert not any(weight.requires_grad for weight in model.vision_model.parameters())


def test_a_text_is_read_as_far_as_there_are_positions_for_it(saved: Path, sibling: Sibling) -> None:
    model = Blip2Retrieval.open(saved / "sibling" / "itm", name="sibling", device="cpu")
    texts = [" ".join(["red"] * count + ["left"]) for count in (36, 37, 38, 39)]  # 40 positions, two for the ends
    one, two, three, four = model.encode_texts(texts).tolist()
    assert one != two != three
    assert three == pytest.approx(four, abs=1e-6)


def test_the_language_model_has_the_words_of_its_prompts(saved: Path, tokens: list[str]) -> None:
    stated = json.loads((saved / "sibling" / "llm" / "config.json").read_text())
    assert stated["text_config"]["vocab_size"] == len(tokens) + 4
    spelling = Blip2Generator.open(saved / "sibling" / "llm", name="sibling", device="cpu").spelling
    assert spelling.unknown_words("Question: what is on the left? Answer:") == []
    assert spelling.decode(spelling.encode("Question: what is on the left? Answer:")) == (
        "question : what is on the left? answer :"
    )
