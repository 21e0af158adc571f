"""Galleries made, watched, stopped, gone on with and deleted on the page, and how well they are searched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from api import Sightline
from api.settings import Settings
from retrieval.training.world.galleries import write_gallery

Visit = Callable[..., Page]
BROKEN = "<img src=x onerror=owned=1>.png"
MANY, BATCH = 80, 32


@pytest.fixture
def few(tmp_path: Path, cards: Path) -> Path:
    """A folder of eight postcards, a picture inside another folder, and a file that is no picture."""
    folder = tmp_path / "few"
    (folder / "inner").mkdir(parents=True)
    for number in range(1, 9):
        shutil.copy(cards / f"postcard-{number:04d}.png", folder)
    shutil.copy(cards / "postcard-0009.png", folder / "inner")
    (folder / BROKEN).write_bytes(b"\x89PNG\r\n\x1a\n no more")
    return folder


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of pictures in several batches."""
    for number in range(MANY):
        Image.new("RGB", (8, 8), (number, 90, 7)).save(tmp_path / f"{number:03d}.png")
    return tmp_path


@pytest.fixture(scope="module")
def measured(web_home: Path) -> str:
    """A gallery with as many pairs as a calibration needs."""
    folder = web_home.parent / "measured"
    write_gallery(folder, scenes=24, seed=6)
    library = Sightline(settings=Settings(home=web_home, offline=True))
    library.index(folder, gallery="measured", model="postcards")
    library.close()
    return "measured"


def new_gallery(page: Page, name: str) -> Locator:
    """Open the dialog and name the gallery."""
    page.get_by_role("button", name="New gallery").click()
    dialog = page.get_by_role("dialog", name="New gallery")
    dialog.get_by_role("textbox", name="Name").fill(name)
    return dialog


def make_from(page: Page, folder: Path, name: str, *, model: str | None = None) -> None:
    dialog = new_gallery(page, name)
    dialog.get_by_role("radio", name="From a folder of the server").check()
    dialog.get_by_role("textbox", name="Server folder").fill(str(folder))
    if model is not None:
        dialog.get_by_role("combobox", name="Model").select_option(model)
    dialog.get_by_role("button", name="Make gallery").click()
    expect(dialog).to_be_hidden()


def newest_job(page: Page) -> Locator:
    return page.get_by_role("list", name="Jobs").get_by_role("listitem").first


def gallery(page: Page, name: str) -> Locator:
    return page.locator(f"[data-gallery={name}]")


def delete(page: Page, name: str) -> None:
    gallery(page, name).get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name=f"Delete {name}?").get_by_role("button", name="Delete").click()
    expect(gallery(page, name)).to_have_count(0)


def test_a_gallery_of_a_server_folder_is_made_searched_indexed_again_and_deleted(
    visit: Visit, few: Path, cards: Path
) -> None:
    page = visit("/?view=galleries")
    make_from(page, few, "few", model="postcards")
    job = newest_job(page)
    expect(job).to_contain_text("few")
    expect(job).to_have_attribute("data-state", "done")
    job.get_by_text("What was skipped").click()
    expect(job).to_contain_text(BROKEN)
    expect(gallery(page, "few")).to_contain_text("9 pictures")
    gallery(page, "few").get_by_role("link", name="few").click()
    expect(page.get_by_role("list", name="Pictures").get_by_role("listitem")).to_have_count(9)
    page.get_by_role("searchbox", name="Search pictures").fill("a blue car")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("reranked")
    page.goto("/?view=galleries")
    shutil.copy(cards / "postcard-0010.png", few)
    gallery(page, "few").get_by_role("button", name="Index again").click()
    expect(gallery(page, "few")).to_contain_text("10 pictures")
    delete(page, "few")
    assert (few / "postcard-0001.png").exists()


def test_a_job_is_watched_cancelled_and_gone_on_with(visit: Visit, many: Path, gate: Any) -> None:
    gate.close()
    page = visit("/?view=galleries")
    make_from(page, many, "many", model="postcards")
    job = newest_job(page)
    expect(job).to_have_attribute("data-state", "running")
    expect(job.get_by_role("progressbar")).to_be_visible()
    expect(job).to_contain_text(f"of {MANY}")
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_contain_text("Stops after this batch.")
    gate.open(1)
    expect(job.get_by_role("progressbar")).to_have_attribute("value", str(BATCH / MANY))
    gate.open()
    expect(job).to_have_attribute("data-state", "stopped")
    expect(gallery(page, "many")).not_to_contain_text(f"{MANY} pictures")
    page.reload()
    expect(job).to_contain_text("Stopped")
    job.get_by_role("button", name="Continue").click()
    expect(job).to_have_attribute("data-state", "done")
    expect(gallery(page, "many")).to_contain_text(f"{MANY} pictures")


def test_a_gallery_that_is_being_indexed_is_not_deleted_and_the_page_says_why(
    visit: Visit, few: Path, gate: Any
) -> None:
    gate.close()
    page = visit("/?view=galleries")
    make_from(page, few, "busy", model="postcards")
    gallery(page, "busy").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete busy?").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("cancel it, or wait")
    gate.open()
    expect(gallery(page, "busy")).to_contain_text("9 pictures")


def test_pictures_of_this_device_become_a_gallery_and_what_was_skipped_is_named(visit: Visit, few: Path) -> None:
    page = visit("/?view=galleries")
    dialog = new_gallery(page, "sent")
    dialog.get_by_role("radio", name="From this device").check()
    dialog.get_by_label("Pictures to upload").set_input_files(
        [few / "postcard-0001.png", few / "postcard-0002.png", few / BROKEN]
    )
    dialog.get_by_role("combobox", name="Model").select_option("postcards")
    dialog.get_by_role("button", name="Make gallery").click()
    expect(gallery(page, "sent")).to_contain_text("2 pictures")
    expect(gallery(page, "sent").locator(".gallery-source")).to_have_text("uploaded pictures")
    expect(page.locator("main")).to_contain_text(BROKEN)
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.stress
def test_a_folder_of_this_device_keeps_its_inner_folders(visit: Visit, few: Path) -> None:
    page = visit("/?view=galleries")
    dialog = new_gallery(page, "folder")
    dialog.get_by_role("radio", name="From this device").check()
    dialog.get_by_label("Folder to upload").set_input_files(few)
    dialog.get_by_role("combobox", name="Model").select_option("postcards")
    dialog.get_by_role("button", name="Make gallery").click()
    expect(gallery(page, "folder")).to_contain_text("9 pictures")
    gallery(page, "folder").get_by_role("link", name="folder").click()
    expect(page.get_by_role("link", name="few/inner/postcard-0009.png")).to_be_visible()


def test_a_folder_that_is_not_there_is_told_in_the_dialog_which_stays(visit: Visit, tmp_path: Path) -> None:
    page = visit("/?view=galleries")
    dialog = new_gallery(page, "nowhere")
    dialog.get_by_role("radio", name="From a folder of the server").check()
    dialog.get_by_role("textbox", name="Server folder").fill(str(tmp_path / "nowhere"))
    dialog.get_by_role("button", name="Make gallery").click()
    expect(dialog.get_by_role("alert")).to_contain_text("nowhere")
    expect(dialog.get_by_role("textbox", name="Name")).to_have_value("nowhere")


def test_a_name_that_is_taken_is_refused_in_the_dialog_before_anything_is_sent(visit: Visit, few: Path) -> None:
    page = visit("/?view=galleries")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    dialog = new_gallery(page, "cards")
    dialog.get_by_role("textbox", name="Server folder").fill(str(few))
    dialog.get_by_role("button", name="Make gallery").click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is a gallery cards already. Choose another name")
    assert "POST" not in sent


def test_the_first_start_shows_the_demo_in_the_making_and_jobs_say_what_became_of_every_file(visit: Visit) -> None:
    job = {"id": 1, "kind": "demo", "gallery": "demo", "state": "running", "request": None, "stage": "postcards"}
    job |= {"done": 64, "total": 200, "rate": 30.0, "seconds_left": 4, "error": None, "report": {}}
    job |= {"cancel_wanted": False, "created_at": None, "started_at": None, "finished_at": None}
    done = {**job, "kind": "index", "state": "done", "report": {"found": 31, "added": 30, "removed": 2, "failed": 1}}
    beside = {**done, "id": 2, "report": {"found": 31, "added": 31, "failed": 1}}
    demo = [{**job, "stage": stage, "id": 3 + at} for at, stage in enumerate(("pictures", "queries"))]
    jobs = [job]
    page = visit("/docs")
    page.route(re.compile(r"/v1/galleries$"), lambda route: route.fulfill(json=[]))
    page.route(re.compile(r"/v1/jobs"), lambda route: route.fulfill(json=jobs))
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("The demo's postcards are being drawn")
    expect(page.locator("#filling")).to_contain_text("Drawing the postcards of demo")
    expect(page.get_by_role("link", name="Make a gallery")).to_have_count(0)
    jobs[:] = [done, beside, *demo]
    page.goto("/?view=galleries")
    rows = page.get_by_role("list", name="Jobs").get_by_role("listitem")
    expect(rows.nth(0)).to_contain_text("31 files found: 30 added and 1 skipped. 2 removed.")
    expect(rows.nth(1)).to_contain_text("31 files found: 31 added. 1 skipped.")
    expect(rows.nth(2)).to_contain_text("Indexing the postcards of demo")
    expect(rows.nth(3)).to_contain_text("Calibrating demo")
    jobs[:] = [done]
    page.goto("/")
    expect(page.get_by_role("link", name="Make a gallery")).to_be_visible()


def test_a_gallery_that_a_person_keeps_is_not_deleted(visit: Visit) -> None:
    page = visit("/?view=galleries")
    gallery(page, "cards").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete cards?").get_by_role("button", name="Keep").click()
    expect(gallery(page, "cards")).to_be_visible()


def test_an_evaluation_and_a_calibration_are_drawn_and_promise_precisions(
    visit: Visit, measured: str, accessible: Any
) -> None:
    page = visit(f"/?view=evaluations&gallery={measured}")
    page.get_by_role("spinbutton", name="Candidates").fill("10")
    page.get_by_role("spinbutton", name="Queries").fill("10")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.get_by_role("table", name="Evaluations").get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("img", name=re.compile("Recall at k")).first).to_be_visible()
    page.get_by_role("button", name="Calibrate").click()
    expect(page.get_by_role("img", name=re.compile("Reliability"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Precision by threshold"))).to_be_visible()
    page.get_by_text("Numbers").first.click()
    expect(page.locator("details[open] table").first).to_be_visible()
    accessible(page)
    page.goto(f"/?gallery={measured}&q=a horse")
    page.locator("#controls").evaluate("(controls) => (controls.open = true)")
    page.get_by_role("combobox", name="Precision wanted").select_option(index=1)
    expect(page).to_have_url(re.compile("precision=0"))
    expect(page.get_by_role("slider", name="Minimum match probability")).not_to_have_value("0")


def test_axe_finds_nothing_serious_in_the_dialog_of_a_new_gallery(visit: Visit, accessible: Any) -> None:
    page = visit("/?view=galleries")
    new_gallery(page, "new").get_by_role("radio", name="From this device").check()
    accessible(page)
