"""Names to checkpoints to models: the table, folders, ids, and what is said when nothing is found."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from retrieval.errors import BadCheckpoint, RoleMissing, UnknownModel, WeightsMissing
from retrieval.models import hub
from retrieval.models.checkpoints import BUNDLED, CHECKPOINTS, companion
from retrieval.models.load import load_answerer, load_captioner, load_encoder, load_matcher
from retrieval.models.resolve import resolve

COCO = CHECKPOINTS["blip-itm-base-coco"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.fixture
def silent_hub(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.fixture
def model_folder(golden_sets: dict[str, Any], tmp_path: Path) -> Path:
    """One model in the layout of the bundled one: itm/, caption/ and vqa/."""
    names = {"itm": "blip_retrieval", "caption": "blip_caption", "vqa": "blip_vqa"}
    for part, name in names.items():
        shutil.copytree(golden_sets[name].folder, tmp_path / "model" / part)
    return tmp_path / "model"


def store(cache: Path, repository: str, folder: Path) -> None:
    """Put a folder where the hub's client would have downloaded it to."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, root / "snapshots" / ("0" * 40))


def test_every_row_is_named_by_its_name_and_by_its_hugging_face_id() -> None:
    for name, row in CHECKPOINTS.items():
        assert resolve(name) is row
        if isinstance(row.source, str):
            assert resolve(row.source) is row


def test_every_companion_is_a_row_that_can_do_it() -> None:
    for row in CHECKPOINTS.values():
        if row.captioner is not None:
            assert "captioner" in companion(row, "captioner").roles
        if row.answerer is not None:
            assert "answerer" in companion(row, "answerer").roles


def test_an_unknown_name_is_told_what_would_be_right() -> None:
    names = "postcards, postcards-blip2, postcards-albef, blip-itm-base-coco"
    with pytest.raises(UnknownModel, match=rf"{names}.*folder.*organisation/name"):
        resolve("clip")


def test_a_folder_is_known_by_its_architecture_and_not_by_its_name(golden_sets: dict[str, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(golden_sets["blip_vqa"].folder, tmp_path / "blip-itm-captioning")
    checkpoint = resolve(str(folder))
    assert (checkpoint.name, checkpoint.family, checkpoint.roles) == (str(folder), "blip", ("answerer",))
    assert checkpoint.image_size == 48


def test_a_folder_of_parts_plays_all_roles(model_folder: Path) -> None:
    checkpoint = resolve(str(model_folder))
    assert checkpoint.roles == ("encoder", "matcher", "captioner", "answerer")
    pixels = np.zeros((1, 48, 48, 3), dtype=np.uint8)
    encoder = load_encoder(checkpoint, device="cpu", offline=True)
    matcher = load_matcher(checkpoint, device="cpu", offline=True)
    assert matcher is encoder
    assert encoder.name == str(model_folder)
    assert matcher.match(matcher.image_tokens(pixels), ["a dog"], np.zeros((1, 2), dtype=np.int64)).shape == (1, 2)
    assert len(load_captioner(checkpoint, device="cpu", offline=True).caption(pixels)) == 1
    assert len(load_answerer(checkpoint, device="cpu", offline=True).answer(pixels, "what?")) == 1


def test_the_bundled_model_plays_all_roles_at_the_size_its_row_states() -> None:
    checkpoint = resolve("postcards")
    models = [load(checkpoint, device="cpu", offline=True) for load in (load_encoder, load_captioner, load_answerer)]
    side = checkpoint.image_size
    assert [model.prepare(Image.new("RGB", (9, 9))).shape for model in models] == [(side, side, 3)] * 3
    assert load_matcher(checkpoint, device="cpu", offline=True) is models[0]


def test_a_folder_without_configuration_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("config", [{"architectures": ["BertModel"]}, {"model_type": "blip"}, {"architectures": None}])
def test_an_architecture_that_no_class_implements_is_no_model(tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownModel, match="BlipForImageTextRetrieval"):
        resolve(str(tmp_path))


def test_a_configuration_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        resolve(str(tmp_path))


def test_a_role_that_a_model_lacks_is_named(golden_sets: dict[str, Any]) -> None:
    with pytest.raises(RoleMissing, match="hashing has no matcher"):
        load_matcher(CHECKPOINTS["hashing"])
    with pytest.raises(RoleMissing, match="has no captioner"):
        load_captioner(resolve(str(golden_sets["blip_retrieval"].folder)))
    with pytest.raises(RoleMissing, match="has no encoder"):
        load_encoder(CHECKPOINTS["blip-vqa-base"])


def test_offline_and_not_stored_is_one_line_that_says_what_where_and_how(empty_cache: Path) -> None:
    with pytest.raises(WeightsMissing) as caught:
        load_encoder(COCO, offline=True)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("blip-itm-base-coco", "Salesforce/blip-itm-base-coco", str(empty_cache), "download", "postcards"):
        assert part in message


def test_the_hubs_own_offline_switch_counts(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.is_reachable()
    with pytest.raises(WeightsMissing, match="switched off"):
        hub.locate(COCO, "encoder", offline=False)


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("silent_hub")
def test_a_hub_that_never_answers_is_given_up() -> None:
    with pytest.raises(WeightsMissing, match=r"http://127\.0\.0\.1:\d+ does not answer"):
        hub.locate(COCO, "encoder", offline=False)


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_refuses_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    assert not hub.is_reachable()


@pytest.mark.usefixtures("silent_hub")
def test_what_is_stored_is_used_without_asking_the_hub(empty_cache: Path, retrieval_set: Any) -> None:
    store(empty_cache, "Salesforce/blip-itm-base-coco", retrieval_set.folder)
    assert hub.is_cached(COCO, "encoder")
    assert load_encoder(COCO, device="cpu").name == "blip-itm-base-coco"


def test_a_half_downloaded_model_is_not_stored(empty_cache: Path, altered: Callable[..., Path]) -> None:
    folder = altered()
    (folder / "model.safetensors").unlink()
    store(empty_cache, "Salesforce/blip-itm-base-coco", folder)
    assert not hub.is_cached(COCO, "encoder")


def test_an_id_outside_the_table_is_described_by_its_configuration(empty_cache: Path, retrieval_set: Any) -> None:
    store(empty_cache, "someone/their-model", retrieval_set.folder)
    checkpoint = resolve("someone/their-model", offline=True)
    assert (checkpoint.name, checkpoint.roles) == ("someone/their-model", ("encoder", "matcher"))
    assert load_encoder(checkpoint, device="cpu", offline=True).dimension == 24


@pytest.mark.usefixtures("empty_cache")
def test_an_id_that_cannot_be_looked_up_offline_says_so() -> None:
    with pytest.raises(WeightsMissing, match="someone/their-model"):
        resolve("someone/their-model", offline=True)


def test_a_local_folder_without_weights_says_where_it_looked(altered: Callable[..., Path]) -> None:
    folder = altered()
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match=str(folder)) as caught:
        load_encoder(resolve(str(folder)))
    assert "reinstall" not in str(caught.value)
    assert "put config.json, vocab.txt and model.safetensors there" in str(caught.value)


def test_bundled_weights_that_are_missing_are_a_matter_of_installing() -> None:
    gone = replace(CHECKPOINTS["postcards"], source=BUNDLED / "nothing")
    with pytest.raises(WeightsMissing, match="reinstall Sightline"):
        load_encoder(gone)
