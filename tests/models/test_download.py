"""Downloading, against a small hub on this machine that serves one folder, and the authors' files beside it."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from retrieval.errors import UnknownModel, WeightsChanged, WeightsMissing
from retrieval.models import cache, digests, hub
from retrieval.models.checkpoints import CHECKPOINTS, Checkpoint, Released
from retrieval.models.load import load_encoder
from retrieval.models.resolve import resolve

REPOSITORY = "someone/their-model"
COMMIT = "0" * 40
RELEASED = replace(CHECKPOINTS["blip-itm-base-coco"], name="released")


class SmallHub(ThreadingHTTPServer):
    """The questions that the hub's client asks before and while it downloads, answered from a folder.

    Large files are told apart by their SHA-256, as the hub does; `stated` is what it says where that is a lie. What
    lies in `authors/` is offered at plain addresses; the next answer ends after `breaks_off_at` bytes.
    """

    daemon_threads = True
    folder: Path
    served: list[str]
    stated: dict[str, str]
    breaks_off_at: int | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def etag(self, file: Path) -> str:
        is_large = file.suffix in (".safetensors", ".bin", ".pth")
        return self.stated.get(file.name, (sha256 if is_large else sha1)(file.read_bytes()).hexdigest())


class Handler(BaseHTTPRequestHandler):
    server: SmallHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        if path == "/":
            self._send(b"", {})
        elif path == f"/api/models/{REPOSITORY}" or path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            self._send_json({"id": REPOSITORY, "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            files = sorted(file for file in self.server.folder.iterdir() if file.is_file())
            self._send_json(
                [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": self.server.etag(f)} for f in files]
            )
        elif path.startswith(f"/{REPOSITORY}/resolve/") and (self.server.folder / Path(path).name).is_file():
            file = self.server.folder / Path(path).name
            if self.command == "GET":
                self.server.served.append(file.name)
            self._send(file.read_bytes(), {"ETag": f'"{self.server.etag(file)}"', "X-Repo-Commit": COMMIT})
        elif path.startswith("/authors/") and (self.server.folder / path[1:]).is_file():
            self._send_authors(self.server.folder / path[1:])
        else:
            known = path.startswith(f"/{REPOSITORY}/")
            self._send(b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"}, status=404)

    def _send_authors(self, file: Path) -> None:
        content, headers = file.read_bytes(), {"ETag": f'"{self.server.etag(file)}"'}
        asked = self.headers["Range"]
        if self.command == "GET":
            self.server.served.append(f"{file.name} {asked}" if asked else file.name)
        if asked is None:
            self._send(content, headers)
            return
        first = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(content[first:], headers, status=206)

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str], *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: self.server.breaks_off_at])
            self.close_connection = self.close_connection or self.server.breaks_off_at is not None
            self.server.breaks_off_at = None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], SmallHub]]:
    server = SmallHub(("127.0.0.1", 0), Handler)
    server.served = []
    server.stated = {}
    server.folder = tmp_path
    resolved = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolved)
    monkeypatch.setattr("retrieval.models.fetch.PAUSE_SECONDS", 0.001)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def start(folder: Path) -> SmallHub:
        server.folder = folder
        return server

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_unknown_id_is_described_downloaded_and_loaded_without_its_pickle(
    serve: Callable[[Path], SmallHub], altered: Callable[..., Path]
) -> None:
    folder = altered()
    (folder / "pytorch_model.bin").write_bytes(b"never to be read")
    (folder / "tf_model.h5").write_bytes(b"never to be read")
    small_hub = serve(folder)
    assert hub.is_reachable()
    checkpoint = resolve(REPOSITORY)
    assert not hub.is_cached(checkpoint, "encoder")
    assert load_encoder(checkpoint, device="cpu").dimension == 24
    assert sorted(small_hub.served) == ["config.json", "model.safetensors", "vocab.txt"]
    assert hub.is_cached(checkpoint, "encoder")


def test_a_pickle_is_downloaded_where_there_is_nothing_else(
    serve: Callable[[Path], SmallHub], altered: Callable[..., Path]
) -> None:
    folder = altered()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    small_hub = serve(folder)
    assert load_encoder(resolve(REPOSITORY), device="cpu").dimension == 24
    assert "pytorch_model.bin" in small_hub.served


def test_an_id_that_the_hub_does_not_know_is_an_unknown_model(
    serve: Callable[[Path], SmallHub], tmp_path: Path
) -> None:
    serve(tmp_path)
    with pytest.raises(UnknownModel, match="knows no someone/else"):
        resolve("someone/else")


def test_an_id_without_configuration_is_an_unknown_model(serve: Callable[[Path], SmallHub], tmp_path: Path) -> None:
    serve(tmp_path)
    with pytest.raises(UnknownModel, match=r"has no config\.json"):
        resolve(REPOSITORY)


def test_a_model_without_weights_on_the_hub_is_told_in_one_line(
    serve: Callable[[Path], SmallHub], altered: Callable[..., Path]
) -> None:
    folder = altered()
    (folder / "model.safetensors").unlink()
    serve(folder)
    with pytest.raises(WeightsMissing, match=REPOSITORY) as caught:
        load_encoder(resolve(REPOSITORY))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------- files at the authors' own addresses


@pytest.fixture
def authors(serve: Callable[[Path], SmallHub], tmp_path: Path, retrieval_set: Any) -> SmallHub:
    """Three files of the authors, and a repository with the vocabulary."""
    folder = tmp_path / "served"
    (folder / "authors").mkdir(parents=True)
    (folder / "authors" / "coco.pth").write_bytes(b"weights of coco")
    (folder / "authors" / "flickr.pth").write_bytes(b"weights of flickr")
    (folder / "authors" / "tower.pth").write_bytes(b"weights of the tower")
    shutil.copy(retrieval_set.folder / "vocab.txt", folder)
    return serve(folder)


def released(server: SmallHub, *names: str, name: str = "released") -> Checkpoint:
    addresses = tuple(f"{server.address}/authors/{one}" for one in names)
    return replace(RELEASED, name=name, source=Released(addresses, {"image_size": 384}, vocabulary=REPOSITORY))


def missing(checkpoint: Checkpoint, *, offline: bool = False) -> str:
    with pytest.raises(WeightsMissing) as caught:
        hub.locate(checkpoint, "encoder", offline=offline)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_released_checkpoint_becomes_a_folder_that_names_its_weights(authors: SmallHub, tmp_path: Path) -> None:
    checkpoint = released(authors, "coco.pth", "tower.pth")
    assert not hub.is_cached(checkpoint, "encoder")
    folder = hub.locate(checkpoint, "encoder", offline=False)
    assert folder == tmp_path / "user" / "sightline" / "checkpoints" / "released"
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "vocab.txt"]
    config = hub.read_config(folder)
    assert config["image_size"] == 384
    assert [Path(name).name for name in config["weights"]] == ["coco.pth", "tower.pth"]
    assert all(name.startswith("../../files/127.0.0.1") for name in config["weights"])
    files = hub.weight_files(folder)
    assert [file.read_bytes() for file in files] == [b"weights of coco", b"weights of the tower"]
    assert authors.served == ["vocab.txt", "coco.pth", "tower.pth"]


def test_a_released_checkpoint_that_is_stored_needs_no_network(authors: SmallHub) -> None:
    checkpoint = released(authors, "coco.pth")
    folder = hub.locate(checkpoint, "encoder", offline=False)
    assert hub.is_cached(checkpoint, "encoder")
    assert hub.locate(checkpoint, "encoder", offline=True) == folder
    (folder / "config.json").unlink()
    assert hub.locate(checkpoint, "encoder", offline=True) == folder
    assert (folder / "config.json").is_file()
    assert authors.served == ["vocab.txt", "coco.pth"]


def test_a_changed_row_of_the_table_changes_the_folder(authors: SmallHub) -> None:
    checkpoint = released(authors, "coco.pth")
    hub.locate(checkpoint, "encoder", offline=False)
    assert isinstance(checkpoint.source, Released)
    corrected = replace(checkpoint, source=replace(checkpoint.source, config={"image_size": 256}))
    assert hub.read_config(hub.locate(corrected, "encoder", offline=True))["image_size"] == 256


def test_a_file_that_two_checkpoints_share_is_downloaded_once(authors: SmallHub) -> None:
    first = hub.locate(released(authors, "coco.pth", "tower.pth", name="coco"), "encoder", offline=False)
    second = hub.locate(released(authors, "flickr.pth", "tower.pth", name="flickr"), "encoder", offline=False)
    assert first != second
    assert hub.weight_files(first)[1] == hub.weight_files(second)[1]
    assert authors.served == ["vocab.txt", "coco.pth", "tower.pth", "flickr.pth"]


def test_a_download_that_broke_off_is_resumed(authors: SmallHub) -> None:
    hub.locate(released(authors, "tower.pth"), "encoder", offline=False)
    authors.breaks_off_at = 7
    folder = hub.locate(released(authors, "coco.pth"), "encoder", offline=False)
    assert hub.weight_files(folder)[0].read_bytes() == b"weights of coco"
    assert authors.served[-2:] == ["coco.pth", "coco.pth bytes=7-"]


def test_weights_that_were_put_there_by_hand_are_not_asked_for(authors: SmallHub) -> None:
    hub.locate(released(authors, "tower.pth"), "encoder", offline=False)
    checkpoint = released(authors, "coco.pth")
    by_hand = hub.stored_file(f"{authors.address}/authors/coco.pth")
    assert f"put it at {by_hand}" in missing(checkpoint, offline=True)
    by_hand.write_bytes(b"mine")
    assert hub.weight_files(hub.locate(checkpoint, "encoder", offline=True)) == [by_hand]


def test_offline_and_not_stored_names_the_file_and_its_address(authors: SmallHub) -> None:
    hub.locate(released(authors, "tower.pth"), "encoder", offline=False)
    message = missing(released(authors, "coco.pth"), offline=True)
    for part in ("released", "coco.pth is not there", "switched off", f"{authors.address}/authors/coco.pth"):
        assert part in message
    assert "coco.pth" not in authors.served


def test_offline_and_without_the_vocabulary_names_the_vocabulary(authors: SmallHub) -> None:
    by_hand = hub.stored_file(f"{authors.address}/authors/coco.pth")
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"weights")
    message = missing(released(authors, "coco.pth"), offline=True)
    assert REPOSITORY in message
    assert "switched off" in message
    assert authors.served == []


def test_the_hubs_offline_switch_counts_for_the_authors_files_too(
    authors: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.locate(released(authors, "tower.pth"), "encoder", offline=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "switched off" in missing(released(authors, "coco.pth"))
    assert "coco.pth" not in authors.served


def test_an_address_that_does_not_answer_is_told_in_one_line(authors: SmallHub) -> None:
    hub.locate(released(authors, "tower.pth"), "encoder", offline=False)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}/coco.pth"
    source = Released((gone,), {}, vocabulary=REPOSITORY)
    assert f"{gone} does not answer" in missing(replace(RELEASED, source=source))


def test_an_address_without_the_file_is_told_in_one_line(authors: SmallHub) -> None:
    assert "404 Not Found" in missing(released(authors, "nothing.pth"))


def test_a_folder_gets_its_configuration_only_when_all_its_files_are_there(authors: SmallHub, tmp_path: Path) -> None:
    missing(released(authors, "coco.pth", "nothing.pth"))
    folder = tmp_path / "user" / "sightline" / "checkpoints" / "released"
    assert [file.name for file in folder.iterdir()] == ["vocab.txt"]
    assert not hub.is_cached(released(authors, "coco.pth", "nothing.pth"), "encoder")


def test_a_cache_that_cannot_be_written_is_told_in_one_line(
    authors: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-folder"))
    assert "vocab.txt cannot be written (Not a directory)" in missing(released(authors, "coco.pth"))


def test_berts_older_id_is_as_good(authors: SmallHub, retrieval_set: Any) -> None:
    store_vocabulary("bert-base-uncased", retrieval_set.folder / "vocab.txt")
    checkpoint = released(authors, "coco.pth")
    assert isinstance(checkpoint.source, Released)
    bert = replace(checkpoint, source=replace(checkpoint.source, vocabulary=hub.VOCABULARY))
    hub.locate(bert, "encoder", offline=False)
    assert authors.served == ["coco.pth"]


def store_vocabulary(repository: str, vocabulary: Path) -> Path:
    """Put a vocabulary where the hub's client would have downloaded it to."""
    root = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    folder = root / "snapshots" / COMMIT
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    folder.mkdir(parents=True)
    shutil.copy(vocabulary, folder / "vocab.txt")
    return folder


# --------------------------------------------------------------------------------------- folders and files of the user


@pytest.fixture
def own(tmp_path: Path, retrieval_set: Any) -> Path:
    """A folder in the authors' layout."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    shutil.copy(retrieval_set.folder / "vocab.txt", folder)
    for name in ("b.pth", "a.pt", "c.txt"):
        (folder / name).write_bytes(b"weights")
    return folder


def test_all_weights_of_a_folder_are_its_weights_unless_it_names_them(own: Path) -> None:
    assert [file.name for file in hub.weight_files(own)] == ["a.pt", "b.pth"]
    assert hub.locate(replace(RELEASED, source=own), "encoder", offline=True) == own
    (own / "config.json").write_text('{"weights": ["b.pth", "a.pt"]}')
    assert [file.name for file in hub.weight_files(own)] == ["b.pth", "a.pt"]
    (own / "config.json").write_text('{"weights": ["b.pth", "gone.pth"]}')
    assert hub.weight_files(own) == []
    assert not hub.is_cached(replace(RELEASED, source=own), "encoder")


def test_weights_in_the_hubs_layout_come_before_those_of_the_authors(own: Path) -> None:
    (own / "pytorch_model.bin").write_bytes(b"")
    assert [file.name for file in hub.weight_files(own)] == ["pytorch_model.bin"]
    (own / "model.safetensors").write_bytes(b"")
    assert [file.name for file in hub.weight_files(own)] == ["model.safetensors"]


def test_a_file_is_its_own_weights_with_the_vocabulary_beside_it(own: Path) -> None:
    checkpoint = replace(RELEASED, source=own / "b.pth")
    assert hub.is_cached(checkpoint, "encoder")
    assert hub.locate(checkpoint, "encoder", offline=True) == own / "b.pth"
    assert hub.weight_files(own / "b.pth") == [own / "b.pth"]
    assert hub.vocabulary_folder(own / "b.pth", offline=True) == own
    assert hub.vocabulary_folder(own, offline=True) == own


def test_a_file_without_a_vocabulary_beside_it_is_spelt_with_berts(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    vocabulary = shutil.move(own / "vocab.txt", tmp_path)
    checkpoint = replace(RELEASED, source=own / "b.pth")
    assert not hub.is_cached(checkpoint, "encoder")
    assert hub.VOCABULARY in missing(checkpoint, offline=True)
    folder = store_vocabulary(hub.VOCABULARY, Path(vocabulary))
    assert hub.is_cached(checkpoint, "encoder")
    assert hub.locate(checkpoint, "encoder", offline=True) == own / "b.pth"
    assert hub.vocabulary_folder(own / "b.pth", offline=True) == folder


def test_a_file_that_is_not_there_is_named(own: Path) -> None:
    checkpoint = replace(RELEASED, source=own / "gone.pth")
    assert not hub.is_cached(checkpoint, "encoder")
    assert str(own / "gone.pth") in missing(checkpoint)


# ------------------------------------------------------------------------------------------------ what weights were


def changed(checkpoint: Checkpoint, folder: Path) -> str:
    with pytest.raises(WeightsChanged) as caught:
        hub.verify(checkpoint, folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_that_changed_after_its_first_use_is_named_with_both_digests(authors: SmallHub) -> None:
    checkpoint = released(authors, "coco.pth", "tower.pth")
    folder = hub.locate(checkpoint, "encoder", offline=False)
    hub.verify(checkpoint, folder)
    hub.verify(checkpoint, folder)
    tower = hub.weight_files(folder)[1]
    tower.write_bytes(b"weights of the Tower")
    message = changed(checkpoint, folder)
    record = digests.record_of(f"{authors.address}/authors/tower.pth")
    for part in (
        str(tower),
        sha256(b"weights of the tower").hexdigest(),
        sha256(b"weights of the Tower").hexdigest(),
        "delete it and download it again",
        f"or delete {record} if the change was meant",
    ):
        assert part in message
    record.unlink()
    hub.verify(checkpoint, folder)


def test_a_file_that_is_deleted_and_downloaded_again_must_be_what_it_was(authors: SmallHub) -> None:
    checkpoint = released(authors, "coco.pth")
    folder = hub.locate(checkpoint, "encoder", offline=False)
    hub.verify(checkpoint, folder)
    hub.weight_files(folder)[0].unlink()
    hub.verify(checkpoint, hub.locate(checkpoint, "encoder", offline=False))
    hub.weight_files(folder)[0].unlink()
    (authors.folder / "authors" / "coco.pth").write_bytes(b"other weights")
    assert "coco.pth" in changed(checkpoint, hub.locate(checkpoint, "encoder", offline=False))


def test_a_large_file_of_the_hub_must_be_what_its_name_says_at_its_first_use(
    serve: Callable[[Path], SmallHub], altered: Callable[..., Path]
) -> None:
    folder = altered()
    small_hub = serve(folder)
    small_hub.stated["model.safetensors"] = "ab" * 32
    checkpoint = resolve(REPOSITORY)
    stored = hub.locate(checkpoint, "encoder", offline=False)
    message = changed(checkpoint, stored)
    assert f"blobs/{'ab' * 32}" in message
    assert sha256((folder / "model.safetensors").read_bytes()).hexdigest() in message
    # The remedy in the message is one: the file that it names is downloaded again.
    del small_hub.stated["model.safetensors"]
    (stored / "model.safetensors").resolve().unlink()
    assert not hub.is_cached(checkpoint, "encoder")
    hub.verify(checkpoint, hub.locate(checkpoint, "encoder", offline=False))


def test_a_file_of_the_hub_that_was_replaced_after_its_first_use_is_an_error(
    serve: Callable[[Path], SmallHub], altered: Callable[..., Path]
) -> None:
    serve(altered())
    checkpoint = resolve(REPOSITORY)
    folder = hub.locate(checkpoint, "encoder", offline=False)
    hub.verify(checkpoint, folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert "at its first use it was" in changed(checkpoint, folder)


def test_the_users_own_folders_may_change(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    for source in (own, own / "b.pth"):
        hub.verify(replace(RELEASED, source=source), source)
        (own / "b.pth").write_bytes(b"changed")
        hub.verify(replace(RELEASED, source=source), source)
    assert not cache.folder().exists()
