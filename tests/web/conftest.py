"""The page in Chromium, over a real server on a loopback port; what it asks for and what it complains of is watched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from threading import Condition
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

from api import Sightline
from api.app import create_app
from api.deps import Service
from api.settings import Settings
from api.wiring import Wiring
from retrieval.models.checkpoints import Checkpoint
from retrieval.training.world.galleries import write_gallery

Visit = Callable[..., Page]
NAMES = ("chromium", "chromium-browser", "google-chrome")
NO_CHROMIUM = (
    f"The page is tested where Chromium is on the PATH (as {', '.join(NAMES)}); on Debian, apt-get install chromium."
)
PATIENCE = 30_000
"""Milliseconds: what is slow on a busy machine is no failure."""
CARDS = 32
"""Postcards: as many as are reranked where nobody says how many."""
TILES = 150
QUERY = "three apples left of a blue car"
SECONDS = 60
HOSTILE = "<img src=x onerror=owned=1>"
"""Opens and closes no folder, so that a file can have it as its name."""
REFUSED = "Failed to load resource"
"""What Chromium says of every answer that is an error, and of every request that is cut off."""

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium; everything here needs it, so that nothing is made in vain where it is missing."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(NO_CHROMIUM)
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for the tests of a file: while it lives, this thread can run no other event loop."""
    # As root, as in many containers, Chromium cannot make its sandbox.
    options = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def web_home(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with four galleries.

    `cards`: 32 postcards of the shipped model; `names`: five pictures whose names and captions mean harm; `tiles`: so
    many that a wall does not show them all at once; `plain`: the pictures of `names` without a model.
    """
    folder = tmp_path_factory.mktemp("web")
    write_gallery(folder / "cards", scenes=CARDS, seed=5)
    add_text(folder / "cards", 1, QUERY)
    write_hostile(folder / "names")
    write_tiles(folder / "tiles")
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(folder / "cards", gallery="cards", model="postcards")
    library.index(folder / "names", gallery="names", model="hashing")
    library.index(folder / "tiles", gallery="tiles", model="hashing")
    library.index(folder / "names", gallery="plain")
    library.close()
    return folder / "home"


def add_text(folder: Path, number: int, text: str) -> None:
    """Give a postcard a text that is short enough to be an example."""
    captions = folder / "captions.jsonl"
    lines = captions.read_text(encoding="utf-8").splitlines()
    line = json.loads(lines[number - 1])
    lines[number - 1] = json.dumps({**line, "texts": [*line["texts"], text]})
    captions.write_text("\n".join([*lines, ""]), encoding="utf-8")


def write_hostile(folder: Path) -> None:
    """Write pictures whose names, folder and captions would run if the page took them for markup, and a broken one."""
    inner = folder / "<i>holiday"
    inner.mkdir(parents=True)
    paths = [folder / f"{HOSTILE}.jpg", inner / "'\"&lt;b&gt;.png", folder / "%3Cb%3E #1?.png"]
    for i, path in enumerate(paths):
        Image.new("RGB", (64, 48), (60 * i, 200, 90)).save(path)
    noise = Image.effect_noise((1024, 768), 120).convert("RGB")
    noise.save(folder / "noise.jpg", quality=95)
    noise.save(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")))
    (folder / "<b>broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    lines = [
        {"file": path.relative_to(folder).as_posix(), "texts": [f"{HOSTILE} </script><b>caption {i}"]}
        for i, path in enumerate(paths)
    ]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_tiles(folder: Path) -> None:
    """Write small pictures, each of its own colour."""
    folder.mkdir()
    for i in range(TILES):
        Image.new("RGB", (8, 8), (i, 90, 160)).save(folder / f"{i:03d}.png")


@pytest.fixture(scope="session")
def cards(web_home: Path) -> Path:
    """The folder of the gallery `cards`."""
    return web_home.parent / "cards"


class Gate:
    """Where models wait before they look at pictures: open, or open for so many batches."""

    def __init__(self) -> None:
        self._changed, self._left = Condition(), inf

    def open(self, batches: float = inf) -> None:
        """Let so many batches pass from now on."""
        with self._changed:
            self._left = batches
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing pass."""
        self.open(0)

    def wait(self) -> None:
        """Wait to be let through."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._left > 0, SECONDS)
            self._left -= 1


@dataclass(frozen=True)
class Gated:
    """A model behind a gate."""

    model: Any
    gate: Gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_images(self, pixels: Any) -> Any:
        self.gate.wait()
        return self.model.encode_images(pixels)

    def match(self, *asked: Any) -> Any:
        self.gate.wait()
        return self.model.match(*asked)


class GatedWiring(Wiring):
    """Wires models behind a gate."""

    def __init__(self, settings: Settings, gate: Gate) -> None:
        super().__init__(settings, print)
        self._gate = gate

    def encoder(self, checkpoint: Checkpoint) -> Any:
        return Gated(super().encoder(checkpoint), self._gate)

    def reranker(self, checkpoint: Checkpoint) -> Any:
        found = super().reranker(checkpoint)
        return found and replace(found, matcher=Gated(found.matcher, self._gate))


@pytest.fixture(scope="module")
def gate_of_service() -> Gate:
    return Gate()


@pytest.fixture
def gate(gate_of_service: Gate) -> Iterator[Gate]:
    """The gate of the service, open again after the test."""
    yield gate_of_service
    gate_of_service.open()


@pytest.fixture(scope="module")
def address(
    web_home: Path, gate_of_service: Gate, listen: Callable[[Any], AbstractContextManager[int]]
) -> Iterator[str]:
    """Where the service listens."""
    app = create_app(Settings(home=web_home, offline=True))
    service: Service = app.state.service
    service.sightline.wiring = GatedWiring(service.settings, gate_of_service)
    with listen(app) as port:
        yield f"http://127.0.0.1:{port}"


@dataclass
class Watch:
    """What pages asked for, and what went wrong in them."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        """Note an error or a warning of the console."""
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            self.complaints.append(message.text)


@pytest.fixture
def watch(address: str) -> Iterator[Watch]:
    """Let no test end with a request to another address, an error in the page or a word of its security policy."""
    watch = Watch()
    yield watch
    assert [url for url in watch.requests if not url.startswith((f"{address}/", f"blob:{address}/", "data:"))] == []
    assert watch.complaints == []


@pytest.fixture
def visit(browser: Browser, address: str, watch: Watch) -> Iterator[Visit]:
    """Open a path of the page, in a fresh profile each time."""
    contexts = []

    def open_page(path: str = "/", *, width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(
            base_url=address,
            viewport=ViewportSize(width=width, height=height),
            locale="en-US",
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: watch.requests.append(request.url))
        context.on("console", watch.hear)
        context.on("weberror", lambda error: watch.complaints.append(str(error.error)))
        page = context.new_page()
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def accessible() -> Callable[[Page], None]:
    """Check that axe finds nothing serious on a page wide and narrow, light and dark, and that no screen is too narrow.

    Only colours can differ between light and dark.
    """
    axe = Axe()

    def serious(page: Page, options: dict[str, Any]) -> list[Any]:
        found = axe.run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
        worst = [one for one in found if one["impact"] in ("serious", "critical")]
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in worst]

    def check(page: Page) -> None:
        for width, height in ((1440, 900), (360, 740)):
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="light")
            assert serious(page, {}) == [], width
            page.emulate_media(color_scheme="dark")
            assert serious(page, {"runOnly": ["color-contrast"]}) == [], f"{width}, dark"
            assert page.evaluate("document.documentElement.scrollWidth") <= width

    return check
