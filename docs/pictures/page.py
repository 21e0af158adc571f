"""Draws docs/pictures/page-360.png, page-820.png and page-1440.png: the page on a telephone, a tablet and a desk.

Run after `make demo`, where Chromium is installed: .venv/bin/python docs/pictures/page.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

QUERY = "three apples left of a blue car"
QUESTION = "what is left of the car ?"
CANDIDATES = 256
NAMES = ("chromium", "chromium-browser", "google-chrome")
SERVE = "from api.cli import main; main()"


def main() -> None:
    """Serve the demo's gallery, and draw a search, a card, and the search again."""
    chromium = next(filter(None, map(shutil.which, NAMES)))
    # As root, as in many containers, Chromium cannot make its sandbox.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with serving() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        start = f"{address}/?gallery=demo&q={quote(QUERY)}&candidates={CANDIDATES}"
        save(searched(browser, start, 360, 780, is_mobile=True), "page-360.png")
        page = searched(browser, start, 820, 1180, is_mobile=True, color_scheme="dark")
        ask(page)
        save(page, "page-820.png")
        save(searched(browser, start, 1440, 900), "page-1440.png")
        browser.close()


@contextmanager
def serving() -> Iterator[str]:
    """Run the service and give its address."""
    command = [sys.executable, "-c", SERVE, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            server.terminate()


def searched(browser: Browser, start: str, width: int, height: int, **look: Any) -> Page:
    """Open a search and wait until its hits are reranked."""
    context = browser.new_context(viewport=ViewportSize(width=width, height=height), reduced_motion="reduce", **look)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(start)
    expect(page.locator("#status")).to_contain_text("reranked", timeout=60_000)
    return page


def ask(page: Page) -> None:
    """Open the best hit and ask about it."""
    page.get_by_role("list", name="Hits").get_by_role("link").first.click()
    page.get_by_role("textbox", name="Ask about this picture").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.get_by_role("log", name="Conversation")).to_contain_text("apple", timeout=60_000)


def save(page: Page, name: str) -> None:
    """Save what is seen, in 256 colours."""
    page.wait_for_load_state("networkidle")
    with Image.open(BytesIO(page.screenshot())) as seen:
        seen.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(Path(__file__).with_name(name), optimize=True)
    page.context.close()


if __name__ == "__main__":
    main()
