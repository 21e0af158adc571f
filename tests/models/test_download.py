"""Downloading, against a small hub on this machine that serves one folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from retrieval.errors import UnknownModel, WeightsMissing
from retrieval.models import hub
from retrieval.models.checkpoints import resolve
from retrieval.models.load import load_encoder

REPOSITORY = "someone/their-model"
COMMIT = "0" * 40


class SmallHub(ThreadingHTTPServer):
    """The questions that the hub's client asks before and while it downloads, answered from a folder."""

    daemon_threads = True
    folder: Path
    served: list[str]


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
                [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": _etag(f)} for f in files]
            )
        elif path.startswith(f"/{REPOSITORY}/resolve/") and (self.server.folder / Path(path).name).is_file():
            file = self.server.folder / Path(path).name
            if self.command == "GET":
                self.server.served.append(file.name)
            self._send(file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT})
        else:
            known = path.startswith(f"/{REPOSITORY}/")
            self._send(b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"}, status=404)

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str], *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _etag(file: Path) -> str:
    return sha1(file.read_bytes()).hexdigest()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], SmallHub]]:
    server = SmallHub(("127.0.0.1", 0), Handler)
    server.served = []
    server.folder = tmp_path
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever)
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
