from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import retrieval.models
from retrieval.training.blip import Models, open_models
from retrieval.training.quality import Quality, measure, read_quality
from retrieval.training.vocabulary import Words, vocabulary, words

FOLDER = Path(retrieval.models.__file__).parent / "bundled" / "postcards"


@pytest.fixture(scope="module")
def models() -> Models:
    return open_models(FOLDER)


@pytest.fixture(scope="module")
def quality(models: Models) -> Quality:
    return measure(models)


def test_the_shipped_model_finds_held_out_postcards(quality: Quality) -> None:
    assert quality.itc_recall_at_10 >= 0.90


def test_matching_tells_nouns_apart(quality: Quality) -> None:
    assert quality.noun_pairs_ranked >= 0.75
    assert quality.noun_pairs_judged >= 0.75


def test_reranking_does_not_lose_what_itc_found(quality: Quality) -> None:
    assert quality.itm_recall_at_1 >= quality.itc_recall_at_1


def test_the_stored_numbers_are_those_of_the_shipped_weights(quality: Quality) -> None:
    stored = read_quality(FOLDER / "quality.json")
    assert asdict(quality) == pytest.approx(asdict(stored), abs=0.01)


def test_the_card_names_the_numbers(quality: Quality) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    stored = json.loads((FOLDER / "quality.json").read_text(encoding="utf-8"))
    for name in asdict(quality):
        assert f"| `{name}` | {stored[name]:.3f} |" in card


def test_the_checkpoint_is_small_and_speaks_the_words_of_the_world(models: Models) -> None:
    weights = sum(path.stat().st_size for path in FOLDER.glob("*/model.safetensors"))
    assert weights < 15_000_000
    assert models.tokens == vocabulary(words())
    assert models.tokens[-2:] == ["[DEC]", "[ENC]"]


@pytest.mark.parametrize("folder", ["itm", "caption", "vqa"])
def test_the_saved_tokenizer_agrees_with_the_words_of_training(models: Models, folder: str) -> None:
    saved = AutoTokenizer.from_pretrained(FOLDER / folder)
    for text in ("a penguin left of a red car", "What colour is the car?", "a unicorn on the beach"):
        ids, mask = Words(models.tokens, models.itm.device).encode([text.lower()])
        assert saved(text)["input_ids"] == ids[0].tolist()
        assert saved(text)["attention_mask"] == mask[0].tolist()
