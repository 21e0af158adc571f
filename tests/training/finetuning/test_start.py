"""What is saved is what was trained: by our loader and by transformers, with and without new words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertTokenizer, BlipForImageTextRetrieval

from retrieval.errors import TrainingNotWritten
from retrieval.models.blip import BlipAnswerer, BlipCaptioner, BlipRetrieval
from retrieval.training.finetuning.examples import Example
from retrieval.training.finetuning.recipe import Task
from retrieval.training.finetuning.start import open_start, unknown_words, with_new_words

PIXELS = np.random.default_rng(1).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
NEW = ("wug", "daxen")


def test_a_saved_folder_opens_with_the_weights_that_were_trained(folders: dict[Task, Path], tmp_path: Path) -> None:
    start = open_start("match", folders["match"], name="tiny")
    with torch.no_grad():
        start.network.vision_proj.weight.mul_(-1)
    start.save(tmp_path / "saved")
    before = BlipRetrieval.open(folders["match"], name="tiny", device="cpu").encode_images(PIXELS)
    after = BlipRetrieval.open(tmp_path / "saved", name="tiny", device="cpu").encode_images(PIXELS)
    assert not np.allclose(before, after)
    theirs = BlipForImageTextRetrieval.from_pretrained(tmp_path / "saved")
    assert torch.equal(theirs.vision_proj.weight, start.network.vision_proj.weight)


def test_words_and_their_predictions_stay_tied_through_training_and_saving(
    folders: dict[Task, Path], tmp_path: Path
) -> None:
    start = open_start("caption", folders["caption"], name="tiny")
    decoder = start.network.text_decoder
    assert decoder.cls.predictions.decoder.weight is decoder.bert.embeddings.word_embeddings.weight
    assert decoder.cls.predictions.decoder.bias is decoder.cls.predictions.bias
    start.save(tmp_path / "saved")
    live = BlipCaptioner(start.network, start.vocabulary, folder=tmp_path, name="tiny", text_length=35)
    assert BlipCaptioner.open(tmp_path / "saved", name="x", device="cpu").caption(PIXELS) == live.caption(PIXELS)


def test_a_folder_of_answers_opens_again(folders: dict[Task, Path], tmp_path: Path) -> None:
    start = open_start("vqa", folders["vqa"], name="tiny")
    start.save(tmp_path / "saved")
    before = BlipAnswerer.open(folders["vqa"], name="x", device="cpu").answer(PIXELS, "what colour is it?")
    assert BlipAnswerer.open(tmp_path / "saved", name="x", device="cpu").answer(PIXELS, "what colour is it?") == before


@pytest.mark.parametrize("new_words", [(), NEW])
def test_lengths_that_a_folder_states_are_those_of_what_is_trained_from_it(
    folders: dict[Task, Path], tmp_path: Path, new_words: tuple[str, ...]
) -> None:
    stating = shutil.copytree(folders["caption"], tmp_path / "stating")
    (stating / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 44}))
    (stating / "generation_config.json").write_text(json.dumps({"num_beams": 1, "max_length": 44}))
    start = open_start("caption", stating, name="tiny")
    assert start.text_length == 44
    if new_words:
        start = with_new_words(start, new_words, seed=1)
    start.save(tmp_path / "saved")
    saved = BlipCaptioner.open(tmp_path / "saved", name="x", device="cpu")
    assert saved.text_length == 44
    settings = saved.network.text_decoder.generation_config
    assert (settings.num_beams, settings.max_length) == (1, 44)


def test_unknown_words_are_found_as_the_vocabulary_would_spell_them(folders: dict[Task, Path]) -> None:
    vocabulary = open_start("match", folders["match"], name="tiny").vocabulary
    found = unknown_words(vocabulary, [Example(0, "A red Wug!"), Example(1, "what is it?", (("Café wug", 1.0),))])
    assert found == ("wug", "cafe")


@pytest.mark.parametrize("task", ["match", "caption", "vqa"])
def test_new_words_get_rows_and_old_words_keep_theirs(folders: dict[Task, Path], tmp_path: Path, task: Task) -> None:
    start = open_start(task, folders[task], name="tiny")
    with torch.no_grad():
        texts = {name: weight.clone() for name, weight in start.network.named_parameters() if "word_emb" in name}
    grown = with_new_words(start, NEW, seed=1)
    grown.save(tmp_path / "saved")
    again = open_start(task, tmp_path / "saved", name="tiny")
    assert again.vocabulary.encode("a red wug daxen")[-2:] == [20, 21]
    assert again.vocabulary.encode("a red") == start.vocabulary.encode("a red")
    assert (again.vocabulary.dec, again.vocabulary.enc) == (start.vocabulary.dec, start.vocabulary.enc)
    weights = dict(again.network.named_parameters())
    for name, before in texts.items():
        assert weights[name].shape[0] == len(before) + 2
        assert torch.equal(weights[name][:-2], before)
    theirs = BertTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs("wug", add_special_tokens=False).input_ids == [20]


def test_new_words_do_not_change_how_known_texts_are_read(folders: dict[Task, Path], tmp_path: Path) -> None:
    with_new_words(open_start("match", folders["match"], name="tiny"), NEW, seed=1).save(tmp_path / "saved")
    before = BlipRetrieval.open(folders["match"], name="x", device="cpu").encode_texts(["a red picture"])
    after = BlipRetrieval.open(tmp_path / "saved", name="x", device="cpu").encode_texts(["a red picture"])
    assert np.array_equal(before, after)


def test_a_language_model_with_new_words_stays_tied_and_can_say_them(folders: dict[Task, Path]) -> None:
    grown = with_new_words(open_start("caption", folders["caption"], name="tiny"), NEW, seed=1)
    decoder = grown.network.text_decoder
    assert decoder.cls.predictions.decoder.weight is decoder.bert.embeddings.word_embeddings.weight
    assert decoder.cls.predictions.decoder.bias is decoder.cls.predictions.bias
    tokens = grown.network.vision_model(pixel_values=torch.zeros(1, 3, 32, 32)).last_hidden_state
    logits = decoder(input_ids=torch.tensor([[grown.vocabulary.dec]]), encoder_hidden_states=tokens).logits
    assert logits.shape == (1, 1, 22)


def test_a_folder_that_cannot_be_written_is_one_line(folders: dict[Task, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingNotWritten, match="could not be written") as raised:
        open_start("match", folders["match"], name="tiny").save(tmp_path / "file" / "model")
    assert "\n" not in str(raised.value)


def test_a_start_in_the_authors_layout_is_saved_in_hugging_face_s(tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent.parent / "golden" / "blip_retrieval"
    start = open_start("match", golden, name="golden")
    start.save(tmp_path / "saved")
    texts = ["a dog on a street", "where as person train beach one the"]
    before = BlipRetrieval.open(golden, name="golden", device="cpu").encode_texts(texts)
    after = BlipRetrieval.open(tmp_path / "saved", name="saved", device="cpu").encode_texts(texts)
    np.testing.assert_array_equal(before, after)
