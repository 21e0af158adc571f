"""The authors' files as models: what a lone file is, what a folder must state, what is refused and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.errors import BadCheckpoint, BadWeights, NotRun, UnknownModel
from retrieval.models.checkpoints import CHECKPOINTS, Released
from retrieval.models.load import load_captioner, load_encoder, load_matcher
from retrieval.models.resolve import resolve

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture
def albef(tmp_path: Path) -> Path:
    """A copy of the golden ALBEF that may be changed."""
    return shutil.copytree(GOLDEN / "albef_retrieval", tmp_path / "albef")


def change(folder: Path, **stated: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | stated))


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    return state


@pytest.mark.parametrize(
    ("name", "family", "protocol", "roles"),
    [
        ("albef_retrieval", "albef", "itm", ("encoder", "matcher")),
        ("blip_retrieval", "blip", "itm+itc", ("encoder", "matcher")),
        ("blip2_qformer", "blip2", "itm+itc", ("encoder", "matcher")),
        ("blip_caption", "blip", "itm+itc", ("captioner",)),
        ("blip_vqa", "blip", "itm+itc", ("answerer",)),
    ],
)
def test_a_folder_is_known_by_the_names_of_its_weights(
    name: str, family: str, protocol: str, roles: tuple[str, ...]
) -> None:
    found = resolve(str(GOLDEN / name))
    assert (found.family, found.protocol, found.roles) == (family, protocol, roles)


def test_a_file_alone_is_a_model_where_a_head_is_64_wide(albef: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(albef / "vocab.txt", alone)
    state = {key: widened(key, value) for key, value in state_of(albef).items() if "_m." not in key}
    torch.save(state, alone / "file.pth")
    encoder = load_encoder(resolve(str(alone / "file.pth")), device="cpu", offline=True)
    assert encoder.encode_texts(["a dog"]).shape == (1, 24)
    assert encoder.name == str(alone / "file.pth")


def widened(key: str, value: torch.Tensor) -> torch.Tensor:
    """The golden widths 48, 144 and 192 as 64, 192 and 256: the sizes do not matter, only that they agree."""
    wide = {48: 64, 144: 192, 192: 256}
    return torch.ones([wide.get(size, size) for size in value.shape]) * 0.01


def test_a_file_whose_heads_nobody_can_know_asks_for_them(albef: Path) -> None:
    (albef / "config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"width of 48.*state vit\.num_heads in a config\.json"):
        load_encoder(resolve(str(albef / "checkpoint.pth")), device="cpu", offline=True)
    change_to = {"vit": {"num_heads": 5}}
    (albef / "config.json").write_text(json.dumps(change_to))
    with pytest.raises(BadCheckpoint, match=r"vit\.num_heads is 5, no whole number that divides the width 48"):
        load_encoder(resolve(str(albef)), device="cpu", offline=True)


def test_a_pre_training_file_of_blip_is_a_captioner_too(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "blip_retrieval", tmp_path / "pretrained")
    captions = {
        key: value for key, value in state_of(GOLDEN / "blip_caption").items() if key.startswith("text_decoder")
    }
    torch.save({"model": state_of(folder) | captions}, folder / "checkpoint.pth")
    found = resolve(str(folder))
    assert found.roles == ("encoder", "matcher", "captioner")
    pixels = np.zeros((1, 48, 48, 3), dtype=np.uint8)
    assert len(load_captioner(found, device="cpu", offline=True).caption(pixels)) == 1
    assert load_encoder(found, device="cpu", offline=True).encode_images(pixels).shape == (1, 1, 24)


def test_lavis_albef_has_no_token_types_and_ends_a_text_with_sep(albef: Path) -> None:
    state = {key: value for key, value in state_of(albef).items() if "token_type_embeddings" not in key}
    torch.save({"model": state}, albef / "checkpoint.pth")
    with pytest.raises(Exception, match=r"missing: text_encoder\.embeddings\.token_type_embeddings\.weight"):
        load_encoder(resolve(str(albef)), device="cpu", offline=True)
    bert = json.loads((albef / "config.json").read_text())["bert"]
    change(albef, bert=bert | {"type_vocab_size": 0}, max_text_len=6)
    encoder: Any = load_encoder(resolve(str(albef)), device="cpu", offline=True)
    assert encoder.encoder_ids("a b c d e f g h")[0] == encoder.vocabulary.cls
    assert encoder.encoder_ids("a b c d e f g h")[-1] == encoder.vocabulary.sep
    assert len(encoder.encoder_ids("a b c d e f g h")) == 6
    # LAVIS cleans as BLIP does: a hyphen is a token there, ALBEF's own cleaning parts words at it.
    spelt = [*encoder.vocabulary.encode("red-bus")]
    assert encoder.encoder_ids("Red-Bus") == [encoder.vocabulary.cls, *spelt, encoder.vocabulary.sep][:6]
    found = resolve(str(albef))
    assert (found.protocol, found.text_length) == ("itm+itc", 6)
    row = CHECKPOINTS["albef-lavis-coco"]
    assert isinstance(row.source, Released)
    assert (row.protocol, row.text_length, row.source.config["bert"]["type_vocab_size"]) == ("itm+itc", 35, 0)


def test_more_ids_than_the_file_has_positions_for_are_an_error(albef: Path) -> None:
    change(albef, max_text_len=41)
    with pytest.raises(BadCheckpoint, match="41 ids, but the position embeddings only 40"):
        load_encoder(resolve(str(albef)), device="cpu", offline=True)


@pytest.mark.parametrize("length", [1, True, -3, "long"])
def test_a_text_length_that_is_none_is_an_error(albef: Path, length: object) -> None:
    change(albef, max_text_len=length)
    with pytest.raises(BadCheckpoint, match="no number of ids from 3 on"):
        resolve(str(albef))


def test_a_fusion_from_the_first_layer_on_is_still_albef(albef: Path) -> None:
    state = state_of(albef)
    for number in (0, 1):
        start = f"text_encoder.encoder.layer.{number}.crossattention"
        state |= {
            key.replace(f"layer.{number + 2}.cross", f"layer.{number}.cross"): value
            for key, value in state.items()
            if key.startswith(start.replace(f".{number}.", f".{number + 2}."))
        }
    torch.save({"model": state}, albef / "checkpoint.pth")
    bert = json.loads((albef / "config.json").read_text())["bert"]
    change(albef, bert=bert | {"fusion_layer": 0})
    found = resolve(str(albef))
    assert (found.family, found.protocol) == ("albef", "itm")
    encoder: Any = load_encoder(found, device="cpu", offline=True)
    assert encoder.encode_texts(["a dog"]).shape == (1, 24)


def test_the_same_weight_under_two_names_is_an_error(albef: Path) -> None:
    state = state_of(albef)
    state["text_encoder.bert.embeddings.LayerNorm.weight"] = state["text_encoder.embeddings.LayerNorm.weight"] + 1
    torch.save({"model": state}, albef / "checkpoint.pth")
    with pytest.raises(BadWeights, match=r"left over: text_encoder\.bert\.embeddings\.LayerNorm\.weight"):
        resolve(str(albef))


def test_whole_numbers_are_no_weights(albef: Path) -> None:
    state = state_of(albef)
    torch.save({"model": state | {"itm_head.weight": torch.ones(2, 48, dtype=torch.long)}}, albef / "checkpoint.pth")
    with pytest.raises(BadWeights, match=r"itm_head\.weight of torch\.int64"):
        load_encoder(resolve(str(albef)), device="cpu", offline=True)


def test_another_activation_is_another_model(albef: Path) -> None:
    encoder: Any = load_encoder(resolve(str(albef)), device="cpu", offline=True)
    before = encoder.preprocessing
    assert encoder.activations == ["gelu"]
    encoder = type(encoder).open(albef, name="own", device="cpu")
    gelu = encoder.fingerprint
    encoder = type(encoder).open(albef, name="own", device="cpu")
    encoder.network.config.text_config.hidden_act = "relu"
    assert encoder.preprocessing == before
    assert encoder.fingerprint != gelu


def test_what_stands_beside_a_file_counts_for_the_file(albef: Path) -> None:
    alone: Any = load_encoder(resolve(str(albef / "checkpoint.pth")), device="cpu", offline=True)
    folder: Any = load_encoder(resolve(str(albef)), device="cpu", offline=True)
    np.testing.assert_array_equal(alone.encode_texts(["a dog"]), folder.encode_texts(["a dog"]))


def test_numbers_that_are_none_are_no_weights(albef: Path) -> None:
    state = state_of(albef)
    state["visual_encoder.norm.bias"][3] = float("nan")
    torch.save({"model": state}, albef / "checkpoint.pth")
    with pytest.raises(BadCheckpoint, match=r"visual_encoder\.norm\.bias holds numbers that are infinite or none"):
        load_encoder(resolve(str(albef)), device="cpu", offline=True)


@pytest.mark.parametrize("vit", [{"image_size": -48}, {"image_size": 0}, {"num_heads": -4}, {"num_heads": 0}])
def test_sizes_that_cannot_be_are_errors(albef: Path, vit: dict[str, int]) -> None:
    change(albef, vit={"num_heads": 4} | vit)
    with pytest.raises(BadCheckpoint, match=next(iter(vit))):
        load_encoder(resolve(str(albef)), device="cpu", offline=True)


def test_a_picture_s_side_that_the_patches_do_not_divide_is_an_error(albef: Path) -> None:
    change(albef, vit={"num_heads": 4, "image_size": 50})
    with pytest.raises(BadCheckpoint, match="50, no multiple of the patches' 16 pixels"):
        resolve(str(albef))


def test_a_file_that_holds_more_than_tensors_is_never_unpickled(albef: Path) -> None:
    torch.save({"model": {"visual_encoder.cls_token": Path("anything")}}, albef / "checkpoint.pth")
    with pytest.raises(BadCheckpoint, match="more than tensors"):
        resolve(str(albef))


def test_a_file_that_is_no_dictionary_of_weights_is_an_error(albef: Path) -> None:
    torch.save([torch.zeros(1)], albef / "checkpoint.pth")
    with pytest.raises(BadCheckpoint, match="no dictionary of weights"):
        resolve(str(albef))
    (albef / "checkpoint.pth").write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint, match="damaged"):
        resolve(str(albef))


def test_weights_of_no_known_model_are_refused_by_what_they_are(albef: Path) -> None:
    vision = {key: value for key, value in state_of(albef).items() if key.startswith("visual_encoder.")}
    for extra, said in (
        ({}, "no known model"),
        ({"cls_head.0.weight": torch.zeros(1)}, "NLVR"),
        ({"visual_encoder.model.time_embed": torch.zeros(1)}, "ALPRO"),
        ({"Qformer.bert.x": torch.zeros(1)}, "Hugging Face folders"),
    ):
        torch.save(vision | extra, albef / "checkpoint.pth")
        with pytest.raises(UnknownModel, match=said):
            resolve(str(albef))


def test_a_known_checkpoint_that_cannot_be_run_says_why() -> None:
    waiting = [row for row in CHECKPOINTS.values() if row.not_run]
    assert {row.family for row in waiting} >= {"instructblip", "alpro"}
    assert all(not row.roles for row in waiting)
    with pytest.raises(NotRun, match="ALPRO, which reads videos, is not built yet"):
        load_matcher(CHECKPOINTS["alpro-lavis-msrvtt"])


def test_every_file_of_the_authors_has_a_row() -> None:
    addresses = {
        address.rpartition("/")[2]
        for row in CHECKPOINTS.values()
        if isinstance(row.source, Released)
        for address in row.source.addresses
    }
    published = """
        ALBEF.pth ALBEF_4M.pth mscoco.pth flickr30k.pth vqa.pth refcoco.pth pretrain_model_nlvr.pth
        albef_coco_retrieval_lavis.pt albef_flickr_retrieval_lavis.pt albef_vqav2_lavis.pt
        model_base_14M.pth model_base.pth model_base_capfilt_large.pth model_large.pth
        model_base_retrieval_coco.pth model_large_retrieval_coco.pth
        model_base_retrieval_flickr.pth model_large_retrieval_flickr.pth
        model_base_caption_capfilt_large.pth model_large_caption.pth model_vqa.pth model_base_vqa_capfilt_large.pth
        model_base_nlvr.pth blip_coco_retrieval.pth blip_flickr_retrieval.pth blip_coco_caption_base.pth
        eva_vit_g.pth clip_vit_L.pth blip2_pretrained.pth blip2_pretrained_vitL.pth blip2_finetune_coco.pth
        blip2_pretrained_opt2.7b.pth blip2_pretrained_opt6.7b.pth blip2_pretrained_flant5xl.pth
        blip2_pretrained_flant5xl_vitL.pth blip2_pretrained_flant5xxl.pth
        blip2_caption_opt2.7b.pth blip2_caption_opt6.7b.pth blip2_caption_flant5xl.pth
        instruct_blip_flanxl_trimmed.pth instruct_blip_flanxxl_trimmed.pth
        instruct_blip_vicuna7b_trimmed.pth instruct_blip_vicuna13b_trimmed.pth
        output.zip alpro_pretrain.pt alpro_msrvtt_retrieval.pt alpro_didemo_retrieval.pt
        alpro_msrvtt_qa.pth alpro_msvd_qa.pth
    """
    assert addresses == set(published.split())


def test_every_row_states_what_it_needs() -> None:
    for row in CHECKPOINTS.values():
        assert row.licence
        assert row.image_size > 0
        if row.roles and row.name != "hashing":
            assert row.memory_bytes, row.name
