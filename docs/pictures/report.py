"""Writes report.png: the head of an evaluation's report, of 200 drawn postcards, as the system's Chromium shows it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from api import Sightline
from api.settings import Settings
from retrieval.training.world.galleries import write_gallery

HERE = Path(__file__).parent
SIZE = {"width": 1200, "height": 1030}


def main() -> None:
    """Draw, evaluate, write the report and photograph it."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        write_gallery(pictures, scenes=200, seed=8)
        sightline = Sightline(settings=Settings(home=Path(folder) / "home", offline=True))
        sightline.index(pictures, gallery="postcards-200", model="postcards")
        found = sightline.evaluate("postcards-200")
        report = sightline.report(found.id, Path(folder) / "report.html")
        shot = Path(folder) / "report.png"
        with sync_playwright() as tools:
            browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.goto(report.as_uri())
            page.screenshot(path=shot)
            browser.close()
        with Image.open(shot) as image:
            image.convert("RGB").quantize(64).save(HERE / "report.png", optimize=True)


if __name__ == "__main__":
    main()
