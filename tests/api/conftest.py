"""The service over small galleries: of the hashing encoder, where no model is meant, and of the shipped model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api import Sightline
from api.app import create_app
from api.deps import Service
from api.settings import Settings
from api.wiring import Wiring
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.hashing import HashingEncoder
from retrieval.models.roles import Encoder
from retrieval.training.world.galleries import write_gallery
from retrieval.types import Float32

Ask = Callable[..., Any]
Listen = Callable[[Any], AbstractContextManager[int]]
SECONDS = 60


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings()


@pytest.fixture
def gallery(sightline: Sightline, photos: Path) -> str:
    """Five pictures of the hashing encoder with three texts."""
    lines = [
        {"file": f"{name}.png", "texts": [text]} for name, text in zip("abc", ("red", "green", "blue sky"), strict=True)
    ]
    (photos / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return sightline.index(photos, gallery="photos", model="hashing").gallery


@pytest.fixture
def client(gallery: str, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def cards_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a gallery `cards`: 24 rendered postcards of the shipped model."""
    folder = tmp_path_factory.mktemp("cards")
    write_gallery(folder / "cards", scenes=24, seed=5)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(folder / "cards", gallery="cards", model="postcards")
    library.close()
    return folder / "home"


@pytest.fixture
def cards(cards_home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(home=cards_home, offline=True)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def card(cards_home: Path) -> bytes:
    """The file of the first postcard."""
    return (cards_home.parent / "cards" / "postcard-0001.png").read_bytes()


class HeldEncoder(HashingEncoder):
    """Stands still while it reads the text `hold`, until it is let go; remembers what it was asked to read."""

    def __init__(self) -> None:
        self.holds, self.may_go = threading.Event(), threading.Event()
        self.read: list[list[str]] = []

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        self.read.append(list(texts))
        if "hold" in texts:
            self.holds.set()
            assert self.may_go.wait(SECONDS)
        return super().encode_texts(texts)


class HeldWiring(Wiring):
    """Wires one given encoder."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        super().__init__(settings, print)
        self._held = encoder

    def encoder(self, checkpoint: Checkpoint) -> Encoder:
        return self._held


@dataclass(frozen=True)
class Held:
    """A service whose encoder can be held, and requests that wait in threads."""

    client: Any
    service: Service
    encoder: HeldEncoder

    def start(self, path: str) -> Ask:
        """Send a request; the function that is given waits for the answer."""
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(self.client.get(path)))
        thread.start()

        def answer() -> Any:
            thread.join(SECONDS)
            return answers[0]

        return answer


@pytest.fixture
def hold(gallery: str, settings: Settings, listen: Listen) -> Callable[..., AbstractContextManager[Held]]:
    """Run a service with a held encoder, with settings changed; `over_a_wire` takes a real server."""

    @contextmanager
    def holding(*, over_a_wire: bool = False, **changes: Any) -> Iterator[Held]:
        app = create_app(settings.model_copy(update=changes))
        service: Service = app.state.service
        encoder = HeldEncoder()
        service.sightline.wiring = HeldWiring(service.settings, encoder)
        with ExitStack() as stack:
            if over_a_wire:
                port = stack.enter_context(listen(app))
                client: Any = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS))
            else:
                client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            try:
                yield Held(client, service, encoder)
            finally:
                encoder.may_go.set()

    return holding


def is_problem(answer: Any, status: int, field: str | None) -> bool:
    """Say whether an answer is the problem that it should be."""
    if answer.headers["content-type"] != "application/problem+json":
        return False
    body = answer.json()
    told = (answer.status_code, body["status"], body["field"])
    return told == (status, status, field) and bool(body["title"] and body["detail"])


@pytest.fixture
def problem() -> Callable[[Any, int, str | None], bool]:
    return is_problem
