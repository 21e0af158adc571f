"""Fixtures shared by all rooms: a library in a fresh folder and a handful of pictures that can be told apart."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image

from api import Sightline
from api.hosted import Hosted

Paint = Callable[..., Path]


LONGEST = ("test_quality.py", "test_train_cli.py", "tests/web", "test_serve.py", "test_bootstrap_flow.py")
"""Where the tests that take longest are: begun first, so that one worker is not left with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; a file's own tests keep their order."""
    items.sort(key=lambda item: next((i for i, name in enumerate(LONGEST) if name in str(item.path)), len(LONGEST)))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads and the digests of what was downloaded: none of the machine's are read, and none are left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder that settings read from the environment point to."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SIGHTLINE_HOME", str(folder))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


@pytest.fixture
def said() -> list[str]:
    """The notices that the library gave."""
    return []


@pytest.fixture
def sightline(home: Path, said: list[str]) -> Iterator[Sightline]:
    """A library on an empty home."""
    library = Hosted(say=said.append)
    yield library
    library.close()


@pytest.fixture
def paint() -> Paint:
    """Write a picture of one colour, which the hashing encoder tells from any other colour."""

    def write(path: Path, colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (8, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, paint: Paint) -> Path:
    """A folder of five pictures: a.png to e.png."""
    for i, name in enumerate("abcde"):
        paint(tmp_path / "photos" / f"{name}.png", (10 + 40 * i, 20, 30))
    return tmp_path / "photos"


@contextmanager
def listening(service: Any) -> Iterator[int]:
    """Run an application on a real server in a thread and give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(service, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture(scope="session")
def listen() -> Callable[[Any], AbstractContextManager[int]]:
    return listening
