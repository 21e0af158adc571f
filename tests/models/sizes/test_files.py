"""The ways in which the authors' files hold the same weights: what counts is found, what does not is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]


@pytest.fixture
def check(family: Any, sizes: Any, agree: Any, tmp_path: Path) -> Any:
    """Open what is written and compare it with the reference on other, plain weights."""

    def write_and_compare(written: object, state: State, config: dict[str, Any] | None = None, **shape: int) -> None:
        made = sizes(**shape)
        folder = family.write(tmp_path / "model", written, config or family.config(made), made)
        agree(family.open(folder), family.reference(state, made), family)

    return write_and_compare


def test_a_bare_dictionary_in_any_order_is_as_good_as_one_below_model(family: Any, sizes: Any, check: Any) -> None:
    state = family.draw(sizes(layers=3))
    check(dict(sorted(state.items(), key=lambda item: item[0][::-1])), state, layers=3)


def test_what_a_training_saves_beside_the_model_is_not_read(family: Any, sizes: Any, check: Any) -> None:
    state = family.draw(sizes())
    beside = {"optimizer": {"state": {0: {"step": 3}}}, "config": {"image_res": 999, "bert_config": "x"}, "epoch": 4}
    check({"optimizer": beside["optimizer"], "model": state, **beside}, state)


@pytest.mark.parametrize("stored", [torch.float16, torch.float64])
def test_weights_are_read_in_whatever_type_they_are_stored(
    stored: torch.dtype, family: Any, sizes: Any, check: Any
) -> None:
    state = {
        key: value.to(stored) if value.is_floating_point() else value for key, value in family.draw(sizes()).items()
    }
    check({"model": state}, state)


@pytest.mark.parametrize("name", ["albef", "blip"])
def test_momentum_twins_and_queues_are_not_what_is_used(
    name: str, families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    family, made = families[name], sizes()
    weights = family.weights(made, 0)
    state = dict(weights.state)
    weights.twins(*family.queues)
    # The twins come first, so that whoever lets the first or the last of two names count is found out.
    for written in (weights.state, dict(reversed(weights.state.items()))):
        agree(
            family.open(family.write(tmp_path, written, family.config(made), made)),
            family.reference(state, made),
            family,
        )


def test_a_pre_training_file_of_albef_wraps_its_text_encoder_once_more(
    families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    albef, made = families["albef"], sizes(layers=4, fusion=2)
    weights = albef.weights(made, 0)
    state = dict(weights.state)
    weights.language_head("text_encoder.cls", made, words="text_encoder.embeddings.word_embeddings.weight")
    weights.twins("queue_ptr")
    written = {_wrapped(key): value for key, value in weights.state.items()}
    assert "text_encoder_m.bert.encoder.layer.3.crossattention.self.key.weight" in written
    folder = albef.write(tmp_path, {"model": written}, albef.config(made), made)
    agree(albef.open(folder), albef.reference(state, made), albef)


def test_a_pre_training_file_of_blip_also_holds_a_decoder(
    families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    blip, made = families["blip"], sizes(layers=3)
    weights = blip.weights(made, 0)
    state = dict(weights.state)
    weights.twins("queue_ptr")
    weights.embeddings("text_decoder.bert.embeddings", made, added=2)
    for i in range(made.layers):
        weights.layer(f"text_decoder.bert.encoder.layer.{i}", made, crosses=True)
    weights.language_head("text_decoder.cls", made, words="text_decoder.bert.embeddings.word_embeddings.weight")
    folder = blip.write(tmp_path, {"model": weights.state}, blip.config(made), made)
    agree(blip.open(folder), blip.reference(state, made), blip)


@pytest.mark.parametrize(("stored", "stated"), [(2, 5), (5, 3)])
def test_positions_are_resized_to_the_side_that_the_configuration_states(
    stored: int, stated: int, family: Any, sizes: Any, check: Any
) -> None:
    state = family.draw(sizes(image=8 * stored, patch=8))
    state["visual_encoder.pos_embed"] = state["visual_encoder.pos_embed"].half()
    wanted = {"image": 8 * stated, "patch": 8}
    check({"model": state}, state, family.config(sizes(**wanted)), **wanted)


def test_a_configuration_that_states_every_size_says_the_same(family: Any, sizes: Any, check: Any) -> None:
    made = sizes(layers=3, fusion=2, positions=50)
    state = family.draw(made)
    check({"model": state}, state, stated_in_full(family, made), layers=3, fusion=2, positions=50)


def test_a_folder_without_configuration_has_heads_of_64_and_the_authors_length_of_a_text(
    family: Any, sizes: Any, agree: Any, tmp_path: Path
) -> None:
    longest = 30 if family.name == "albef" else 35
    made = sizes(vision=128, vision_heads=2, text=64, text_heads=1, layers=2, longest=longest, positions=64)
    state = family.draw(made)
    folder = family.write(tmp_path, {"model": state}, {}, made)
    (folder / "config.json").unlink()
    agree(family.open(folder), family.reference(state, made), family, texts=["dog", "two small boats " * 9])


@pytest.mark.parametrize(("name", "half"), [("eva_vit_g.pth", True), ("a_tower.pt", False)])
def test_the_vision_tower_of_blip2_may_lie_in_a_file_of_its_own_with_a_block_too_many(
    name: str, half: bool, families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    blip2, made = families["blip2"], sizes(blocks=11, vision=16, vision_heads=2)
    whole = blip2.draw(sizes(blocks=12, vision=16, vision_heads=2))
    tower, rest = _apart(whole, half=half)
    tower |= {"norm.weight": torch.ones(16), "norm.bias": torch.ones(16)}
    tower |= {"head.weight": torch.ones(7, 16), "head.bias": torch.ones(7)}
    config = blip2.config(made)
    config["vit"]["depth"] = 11
    folder = blip2.write(tmp_path, {"model": rest}, config, made)
    torch.save(tower, folder / name)
    state = rest | {f"visual_encoder.{key}": value for key, value in tower.items()}
    agree(blip2.open(folder), blip2.reference(state, made), blip2)


def test_a_vision_tower_of_its_own_has_its_positions_resized_too(
    families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    blip2, made = families["blip2"], sizes(image=40, patch=8)
    whole = blip2.draw(sizes(image=24, patch=8))
    tower, rest = _apart(whole)
    folder = blip2.write(tmp_path, {"model": rest}, blip2.config(made), made)
    torch.save(tower, folder / "eva_vit_g.pth")
    agree(blip2.open(folder), blip2.reference(whole, made), blip2)


def stated_in_full(family: Any, made: Any) -> dict[str, Any]:
    """A configuration as the golden sets have it, with all that the weights tell, too."""
    config = family.config(made)
    config["vit"] |= {
        "patch_size": made.patch,
        "embed_dim": made.vision,
        "depth": made.blocks,
        "mlp_ratio": made.vision_mlp / made.vision,
        "qkv_bias": True,
        "layer_norm_eps": 1e-06,
    }
    text = "qformer" if family.name == "blip2" else "bert"
    config[text] |= {
        "hidden_size": made.text,
        "intermediate_size": made.text_mlp,
        "num_hidden_layers": made.layers,
        "max_position_embeddings": made.positions,
        "layer_norm_eps": 1e-12,
    }
    match family.name:
        case "albef":
            config[text] |= {"type_vocab_size": 2, "fusion_layer": made.fusion, "encoder_width": made.vision}
        case "blip":
            # The authors' file is BERT's: neither the token types nor the width is what the network has.
            config[text] |= {"type_vocab_size": 2, "encoder_width": made.text, "add_cross_attention": True}
        case "blip2":
            config[text] |= {"cross_attention_freq": made.every, "num_query_token": made.queries}
            config["max_txt_len"] = made.longest - 3
    return config | {"embed_dim": made.embedding, "temp": 0.05}


def _wrapped(key: str) -> str:
    """A key as BertForMaskedLM has it: all but its head below "bert."."""
    for part in ("text_encoder.", "text_encoder_m."):
        if key.startswith(part) and not key.startswith(f"{part}cls."):
            return key.replace(part, f"{part}bert.", 1)
    return key


def _apart(state: State, *, half: bool = False) -> tuple[State, State]:
    """The vision tower without its prefix, and everything else."""
    prefix = "visual_encoder."
    tower = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if half:
        tower = {key: value.half() for key, value in tower.items()}
    return tower, {key: value for key, value in state.items() if not key.startswith(prefix)}
