"""What the page costs before it is seen: the time to its first paint, and until 100 cards with their pictures are.

A real server process on a loopback port and the system's Chromium, a fresh profile for every load. The reference is a
bare page of the same 100 thumbnails as static files, nothing else, loaded in turns with ours; the medians are compared.
The pictures are noisy, so that their thumbnails are as large as thumbnails get.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from api import Sightline
from api.settings import Settings

CARDS = 100
NAMES = ("chromium", "chromium-browser", "google-chrome")
SERVE = "from api.cli import main; main()"
SERVE_FILES = """
import socket, sys, uvicorn
from starlette.staticfiles import StaticFiles
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    files = StaticFiles(directory=sys.argv[1], html=True)
    uvicorn.Server(uvicorn.Config(files, log_level="error")).run(sockets=[listener])
"""
BARE = "<!doctype html><title>bare</title><link rel=icon href=data:,>"

# Tells when the cards are there and those in view show their pictures, two frames later, when they are on the screen.
TIMER = """
window.painted = new Promise((painted) => {
  const isInView = (image) => {
    const box = image.getBoundingClientRect()
    return box.top < innerHeight && box.bottom > 0 && box.width > 0
  }
  const look = async () => {
    const seen = [...document.images].filter(isInView)
    const isDone = seen.length && seen.every((image) => image.complete && image.naturalWidth)
    if (document.images.length < %d || !isDone) return requestAnimationFrame(look)
    await Promise.all(seen.map((image) => image.decode()))
    const tell = () => painted({ at: performance.now(), inView: seen.length, tile: [seen[0].width, seen[0].height] })
    requestAnimationFrame(() => requestAnimationFrame(tell))
  }
  requestAnimationFrame(look)
})
"""
# The browser tells of a paint a moment after it.
FIRST_PAINT = """
new Promise((resolve) => {
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    if (paint) resolve(paint.startTime);
    else requestAnimationFrame(look);
  };
  look();
})
"""


@dataclass(frozen=True)
class Load:
    """Milliseconds to the first paint and to 100 cards with the pictures in view; how many and how large those are."""

    first: float
    cards: float
    in_view: int
    tile: tuple[int, int]
    requests: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=120, help="pictures in the gallery")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--height", type=int, nargs="+", default=[900, 6000], help="heights of the window")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        print(f"skipped: no Chromium on the PATH (as {', '.join(NAMES)})")
        return
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        make_gallery(folder, options.pictures)
        # As root, as in many containers, Chromium cannot make its sandbox.
        sandbox = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        with serving(SERVE, "serve", "--port", "0", home=folder / "home") as ours:
            once = load(browser, f"{ours}/?gallery=noise", min(options.height))
            print(f"first load after indexing: {told(once)}")
            save_bare_page(folder / "bare", ours, once.tile)
            with serving(SERVE_FILES, str(folder / "bare")) as bare:
                for height in options.height:
                    print(compare(browser, f"{ours}/?gallery=noise", bare, height, options.turns), flush=True)
        browser.close()


def make_gallery(folder: Path, count: int) -> None:
    """Write and index photographs of noise: coarse colours with grain."""
    draw = random.Random(7)
    (folder / "noise").mkdir()
    for number in range(count):
        coarse = Image.frombytes("RGB", (64, 48), draw.randbytes(64 * 48 * 3)).resize((1024, 768))
        grain = Image.effect_noise((1024, 768), 80).convert("RGB")
        Image.blend(coarse, grain, 0.5).save(folder / "noise" / f"noise-{number:03d}.jpg", quality=90)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(folder / "noise", gallery="noise", model="hashing")
    library.close()


@contextmanager
def serving(program: str, *arguments: str, home: Path | None = None) -> Iterator[str]:
    """Run a server and give its address, which it prints."""
    command = [sys.executable, "-c", program, *arguments]
    environment = os.environ | {"SIGHTLINE_HOME": str(home), "SIGHTLINE_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            server.terminate()


def save_bare_page(folder: Path, address: str, tile: tuple[int, int]) -> None:
    """Save the gallery's first thumbnails as files, with a page that shows them as large as ours; print their sizes."""
    folder.mkdir()
    sizes = []
    for item in httpx.get(f"{address}/v1/galleries/noise/items?limit={CARDS}").json()["items"]:
        content = httpx.get(f"{address}/v1/items/{item['id']}/thumbnail").content
        (folder / f"{item['id']}.jpg").write_bytes(content)
        sizes.append(len(content))
    width, height = tile
    image = "<img src={} alt='' width={} height={} loading=lazy>"
    images = "".join(image.format(path.name, width, height) for path in sorted(folder.glob("*.jpg")))
    (folder / "index.html").write_text(f"{BARE}{images}")
    print(f"{len(sizes)} thumbnails: {min(sizes)} to {max(sizes)} bytes, median {statistics.median(sizes):.0f}")


def compare(browser: Browser, ours: str, bare: str, height: int, turns: int) -> str:
    """Load both in turns; give a line with the medians and their ratios."""
    loads: dict[str, list[Load]] = {ours: [], bare: []}
    for address in loads:
        load(browser, address, height)  # warms up
    for _ in range(turns):
        for address, measured in loads.items():
            measured.append(load(browser, address, height))
    page, reference = (middle(measured) for measured in loads.values())
    spread = " ".join(f"{a.cards / b.cards:.2f}" for a, b in zip(*loads.values(), strict=True))
    return (
        f"1440 x {height}: {told(page)}; bare page {told(reference)}: "
        f"ratio {page.first / reference.first:.2f} and {page.cards / reference.cards:.2f} (turn by turn {spread})"
    )


def load(browser: Browser, address: str, height: int) -> Load:
    """Load an address with an empty cache."""
    context = browser.new_context(viewport=ViewportSize(width=1440, height=height))
    requests: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    context.add_init_script(TIMER % CARDS)
    page = context.new_page()
    page.goto(address)
    painted = page.evaluate("painted")
    first = page.evaluate(FIRST_PAINT)
    context.close()
    return Load(first, painted["at"], painted["inView"], tuple(painted["tile"]), len(requests))


def middle(loads: list[Load]) -> Load:
    """Take the median of each number."""
    return Load(
        statistics.median(one.first for one in loads),
        statistics.median(one.cards for one in loads),
        loads[0].in_view,
        loads[0].tile,
        max(one.requests for one in loads),
    )


def told(one: Load) -> str:
    """Say a load in words."""
    return (
        f"first paint {one.first:.0f} ms, {CARDS} cards with the {one.in_view} pictures in view {one.cards:.0f} ms, "
        f"{one.requests} requests"
    )


if __name__ == "__main__":
    main()
