"""Weights that do not fit are an error that names them as the authors' file does, whatever else was read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from retrieval.errors import BadCheckpoint, BadWeights

SHAPE = {"layers": 4, "fusion": 2, "every": 2}
LEFT_OVER = (
    "cls_head.weight",
    "visual_encoder.blocks.0.attn.relative_position_bias_table",
    "text_encoder.pooler.dense.weight",
    "Qformer.bert.pooler.dense.weight",
)
# What sizes are read from comes first: it is looked at before anything is compared.
MISSING = [
    ("albef", "visual_encoder.cls_token"),
    ("albef", "visual_encoder.pos_embed"),
    ("albef", "visual_encoder.patch_embed.proj.weight"),
    ("albef", "visual_encoder.blocks.0.mlp.fc1.weight"),
    ("albef", "text_encoder.embeddings.word_embeddings.weight"),
    ("albef", "text_encoder.encoder.layer.0.intermediate.dense.weight"),
    ("albef", "vision_proj.weight"),
    ("albef", "visual_encoder.blocks.1.attn.qkv.bias"),
    ("albef", "visual_encoder.norm.weight"),
    ("albef", "text_encoder.embeddings.token_type_embeddings.weight"),
    ("albef", "text_encoder.encoder.layer.3.crossattention.self.value.weight"),
    ("blip", "visual_encoder.cls_token"),
    ("blip", "text_encoder.embeddings.position_embeddings.weight"),
    ("blip", "text_encoder.encoder.layer.0.crossattention.self.key.bias"),
    ("blip", "itm_head.bias"),
    ("blip2", "visual_encoder.pos_embed"),
    ("blip2", "query_tokens"),
    ("blip2", "vision_proj.weight"),
    ("blip2", "Qformer.bert.embeddings.word_embeddings.weight"),
    ("blip2", "Qformer.bert.embeddings.position_embeddings.weight"),
    ("blip2", "Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"),
    ("blip2", "visual_encoder.blocks.1.attn.q_bias"),
    ("blip2", "visual_encoder.blocks.1.attn.v_bias"),
    ("blip2", "ln_vision.weight"),
    ("blip2", "Qformer.bert.encoder.layer.3.output_query.LayerNorm.bias"),
    ("blip2", "text_proj.bias"),
]
ANOTHER_SHAPE = [
    ("albef", "visual_encoder.patch_embed.proj.bias"),
    ("albef", "text_encoder.encoder.layer.2.crossattention.self.key.weight"),
    ("blip", "visual_encoder.blocks.1.attn.qkv.weight"),
    ("blip", "text_encoder.encoder.layer.1.output.LayerNorm.weight"),
    ("blip2", "visual_encoder.blocks.1.attn.q_bias"),
    ("blip2", "visual_encoder.blocks.1.attn.v_bias"),
    ("blip2", "Qformer.bert.encoder.layer.1.output_query.dense.weight"),
    ("blip2", "itm_head.weight"),
]


@pytest.mark.parametrize(("name", "key"), MISSING)
def test_a_missing_key_is_named_as_the_authors_file_has_it(
    name: str, key: str, families: dict[str, Any], sizes: Any, tmp_path: Path
) -> None:
    family, made = families[name], sizes(**SHAPE)
    state = family.draw(made)
    del state[key]
    with pytest.raises((BadWeights, BadCheckpoint)) as caught:
        family.open(family.write(tmp_path, {"model": state}, family.config(made), made))
    assert key in str(caught.value)


@pytest.mark.parametrize(("name", "key"), ANOTHER_SHAPE)
def test_a_key_of_another_shape_is_named_as_the_authors_file_has_it(
    name: str, key: str, families: dict[str, Any], sizes: Any, tmp_path: Path
) -> None:
    family, made = families[name], sizes(**SHAPE)
    state = family.draw(made)
    state[key] = torch.cat([state[key], state[key][-1:]])
    with pytest.raises((BadWeights, BadCheckpoint)) as caught:
        family.open(family.write(tmp_path, {"model": state}, family.config(made), made))
    assert key in str(caught.value)


def test_keys_left_over_are_named_as_the_authors_file_has_them(family: Any, sizes: Any, tmp_path: Path) -> None:
    made = sizes()
    state = family.draw(made) | {key: torch.ones(3) for key in LEFT_OVER}
    with pytest.raises((BadWeights, BadCheckpoint)) as caught:
        family.open(family.write(tmp_path, {"model": state}, family.config(made), made))
    assert all(key in str(caught.value) for key in LEFT_OVER)


def test_a_position_table_that_is_no_square_is_named(family: Any, sizes: Any, tmp_path: Path) -> None:
    made, state = sizes(image=64), family.draw(sizes())
    state["visual_encoder.pos_embed"] = torch.ones(1, 7, 24)
    with pytest.raises((BadWeights, BadCheckpoint)) as caught:
        family.open(family.write(tmp_path, {"model": state}, family.config(made), made))
    assert "visual_encoder.pos_embed" in str(caught.value)


def test_a_layer_missing_in_the_middle_is_an_error(family: Any, sizes: Any, tmp_path: Path) -> None:
    made = sizes(**SHAPE)
    for missing in (f"{family.layer}.1.", "visual_encoder.blocks.0."):
        state = {key: value for key, value in family.draw(made).items() if not key.startswith(missing)}
        with pytest.raises((BadWeights, BadCheckpoint), match=missing):
            family.open(family.write(tmp_path, {"model": state}, family.config(made), made))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("albef", "text_encoder.encoder.layer.2.crossattention."),
        ("albef", "text_encoder.encoder.layer.3."),
        ("blip", "text_encoder.encoder.layer.3."),
        ("blip2", "Qformer.bert.encoder.layer.2.crossattention."),
        ("blip2", "Qformer.bert.encoder.layer.3."),
        ("albef", "visual_encoder.blocks.1."),
        ("blip", "visual_encoder.blocks.1."),
        ("blip2", "visual_encoder.blocks.1."),
    ],
)
def test_a_part_that_the_configuration_counts_and_the_file_lacks_is_an_error(
    name: str, missing: str, families: dict[str, Any], sizes: Any, tmp_path: Path
) -> None:
    family, made = families[name], sizes(**SHAPE)
    state = {key: value for key, value in family.draw(made).items() if not key.startswith(missing)}
    config = family.config(made)
    config["vit"]["depth"] = made.blocks
    text = config["qformer" if name == "blip2" else "bert"]
    text |= {"num_hidden_layers": made.layers, "fusion_layer": made.fusion, "cross_attention_freq": made.every}
    with pytest.raises((BadWeights, BadCheckpoint)):
        family.open(family.write(tmp_path, {"model": state}, config, made))


def test_a_key_missing_in_a_tower_of_its_own_is_named_as_that_file_has_it(
    families: dict[str, Any], sizes: Any, tmp_path: Path
) -> None:
    blip2, made = families["blip2"], sizes()
    state, prefix = blip2.draw(made), "visual_encoder."
    tower = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    rest = {key: value for key, value in state.items() if not key.startswith(prefix)}
    for key in ("blocks.1.attn.qkv.weight", "cls_token"):
        folder = blip2.write(tmp_path, {"model": rest}, blip2.config(made), made)
        torch.save({name: value for name, value in tower.items() if name != key}, folder / "eva_vit_g.pth")
        with pytest.raises((BadWeights, BadCheckpoint), match=key):
            blip2.open(folder)
