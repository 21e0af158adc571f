"""Folders that are odd and work, and folders that are wrong and say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from retrieval.errors import BadCheckpoint, BadWeights
from retrieval.models.blip import BlipCaptioner, BlipRetrieval

Folder = Callable[..., Path]
TEXTS = ["small bus red left green many of", "the as"]
KEY = "text_encoder.encoder.layer.1.output.dense.weight"


def opened(folder: Path) -> BlipRetrieval:
    return BlipRetrieval.open(folder, name="altered", device="cpu")


def test_weights_stored_as_float16_give_float32_results(altered: Folder, retrieval_set: Any) -> None:
    def halve(state: dict[str, torch.Tensor]) -> None:
        state.update({key: value.half() for key, value in state.items()})

    model = opened(altered(weights=halve))
    embeddings = model.encode_texts(TEXTS)
    assert embeddings.dtype == np.float32
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}
    np.testing.assert_allclose(embeddings, opened(retrieval_set.folder).encode_texts(TEXTS), rtol=0, atol=2e-2)


def test_a_vocabulary_that_names_enc_and_dec_gives_the_same_results(altered: Folder, retrieval_set: Any) -> None:
    listed = opened(altered(vocabulary=lambda tokens: tokens.extend(["[DEC]", "[ENC]"])))
    silent = opened(retrieval_set.folder)
    assert (listed.vocabulary.dec, listed.vocabulary.enc) == (86, 87)
    assert (silent.vocabulary.dec, silent.vocabulary.enc) == (86, 87)
    assert listed.encode_texts(TEXTS).tolist() == silent.encode_texts(TEXTS).tolist()


def test_a_folder_with_tokenizer_json_alone_reads_the_same(altered: Folder, retrieval_set: Any) -> None:
    folder = altered()
    vocabulary = {token: row for row, token in enumerate((folder / "vocab.txt").read_text().split("\n")[:-1])}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    (folder / "vocab.txt").unlink()
    model, usual = opened(folder), opened(retrieval_set.folder)
    assert model.encode_texts(TEXTS).tolist() == usual.encode_texts(TEXTS).tolist()
    assert model.fingerprint == usual.fingerprint


def test_a_vocabulary_longer_than_the_embedding_is_refused(altered: Folder) -> None:
    folder = altered(vocabulary=lambda tokens: tokens.append("zebra"))
    with pytest.raises(BadCheckpoint, match="ids up to 88, but the embedding only 88 rows"):
        opened(folder)


def test_a_vocabulary_without_unk_is_refused(altered: Folder) -> None:
    folder = altered(vocabulary=lambda tokens: tokens.__setitem__(1, "zebra"))
    with pytest.raises(BadCheckpoint, match=r"lacks \[UNK\]"):
        opened(folder)


def test_a_configuration_without_head_count_means_twelve(altered: Folder) -> None:
    model = opened(altered(config=lambda config: config["text_config"].pop("num_attention_heads")))
    assert model.network.text_encoder.encoder.layer[0].attention.self.num_attention_heads == 12
    assert model.network.text_encoder.encoder.layer[0].crossattention.self.num_attention_heads == 12


def test_a_stated_head_count_is_obeyed(retrieval_set: Any) -> None:
    layer = opened(retrieval_set.folder).network.text_encoder.encoder.layer[0]
    assert layer.attention.self.num_attention_heads == 4


def test_layer_norms_use_the_authors_epsilon_whatever_the_configuration_says(altered: Folder) -> None:
    def lie(config: dict[str, Any]) -> None:
        config["text_config"]["layer_norm_eps"] = 1e-5

    network = opened(altered(config=lie)).network
    assert network.vision_model.post_layernorm.eps == 1e-6
    assert network.vision_model.encoder.layers[2].layer_norm1.eps == 1e-6
    assert network.text_encoder.embeddings.LayerNorm.eps == 1e-12


def test_a_missing_key_is_named(altered: Folder) -> None:
    folder = altered(weights=lambda state: state.pop(KEY))
    with pytest.raises(BadWeights, match=f"missing: {KEY}") as caught:
        opened(folder)
    assert caught.value.missing == (KEY,)


def test_a_key_left_over_is_named(altered: Folder) -> None:
    folder = altered(weights=lambda state: state.update({"pooler.weight": torch.zeros(2)}))
    with pytest.raises(BadWeights, match=r"left over: pooler\.weight") as caught:
        opened(folder)
    assert caught.value.unexpected == ("pooler.weight",)


def test_a_key_of_another_shape_is_named_with_both_shapes(altered: Folder) -> None:
    folder = altered(weights=lambda state: state.update({KEY: torch.zeros(48, 161)}))
    with pytest.raises(BadWeights, match=r"\[48, 161\] instead of \[48, 160\]") as caught:
        opened(folder)
    assert caught.value.mismatched[0].startswith(KEY)


def test_position_ids_of_older_files_do_no_harm(altered: Folder) -> None:
    ids = {"text_encoder.embeddings.position_ids": torch.arange(44)[None]}
    assert opened(altered(weights=lambda state: state.update(ids))).encode_texts(TEXTS).shape == (2, 24)


def test_a_pickled_file_is_read_where_there_are_no_safetensors(altered: Folder, retrieval_set: Any) -> None:
    folder = altered()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert opened(folder).encode_texts(TEXTS).tolist() == opened(retrieval_set.folder).encode_texts(TEXTS).tolist()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_cut_short_is_an_error_that_names_it(altered: Folder, name: str) -> None:
    folder = altered()
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content[:1000])
    with pytest.raises(BadCheckpoint, match=name):
        opened(folder)


def test_tied_weights_may_be_left_out_of_the_file_or_be_there_twice(caption_set: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = load_file(caption_set.folder / "model.safetensors")
    alias = "text_decoder.cls.predictions.decoder.weight"
    assert alias in state
    del state[alias], state["text_decoder.cls.predictions.decoder.bias"]
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((caption_set.folder / name).read_bytes())
    save_file(state, tmp_path / "model.safetensors")
    pixels = np.zeros((1, 48, 48, 3), dtype=np.uint8)
    captions = [
        BlipCaptioner.open(folder, name="tied", device="cpu").caption(pixels)
        for folder in (caption_set.folder, tmp_path)
    ]
    assert captions[0] == captions[1]


@pytest.mark.parametrize("content", ["{", "[]", '{"text_config": {"hidden_size": "wide"}}'])
def test_a_configuration_that_makes_no_sense_is_an_error(altered: Folder, content: str) -> None:
    folder = altered()
    (folder / "config.json").write_text(content)
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        opened(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", "\udcff", *(f'{{"model_max_length": {value}}}' for value in ('"64"', "true", "[64]", 2, -1))]
)
def test_a_tokenizer_configuration_that_makes_no_sense_is_an_error(altered: Folder, content: str) -> None:
    folder = altered()
    (folder / "tokenizer_config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadCheckpoint, match=r"tokenizer_config\.json"):
        opened(folder)


@pytest.mark.parametrize(
    ("stated", "length"), [("20", 20), ("20.0", 20), ("512", 35), ("1e30", 35), ("NaN", 35), ("null", 35)]
)
def test_a_text_is_as_long_as_the_folder_states_or_else_as_the_authors_cut_it(
    altered: Folder, stated: str, length: int
) -> None:
    folder = altered()
    (folder / "tokenizer_config.json").write_text(f'{{"model_max_length": {stated}}}')
    assert opened(folder).text_length == length
