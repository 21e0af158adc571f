"""The page for everyone: by keyboard alone, on a narrow screen, for screen readers, and when something goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
QUERY = "three apples left of a blue car"
# A path, and what is there when it is shown whole.
VIEWS = {
    "wall": ("/?gallery=cards", "#wall li"),
    "hits": (f"/?gallery=cards&q={QUERY}", "#hits li"),
    "nothing matches": (f"/?gallery=cards&q={QUERY}&min=1", "#nothing-matches li"),
    "card": ("/?gallery=cards&item=1", "dialog[open] [aria-label='Similar pictures'] li"),
    "wall without a model": ("/?gallery=plain", "#wall li"),
    "galleries": ("/?view=galleries", "[data-gallery=names]"),
    "evaluations": ("/?view=evaluations&gallery=cards", "#view-evaluations form"),
    "problem": ("/?gallery=nowhere", "[role=alert] p"),
}


def show(visit: Visit, view: str) -> Page:
    path, shown = VIEWS[view]
    page = visit(path)
    expect(page.locator(shown).first).to_be_visible()
    return page


def has_focus(page: Page, role: str, name: str) -> None:
    expect(page.get_by_role(role, name=name)).to_be_focused()


# ------------------------------------------------------------------------------------------------------ screen readers


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_360_pixels(
    visit: Visit, view: str, accessible: Any
) -> None:
    accessible(show(visit, view))


# ------------------------------------------------------------------------------------------------------------- keyboard


def test_all_of_a_search_is_done_by_keyboard(visit: Visit) -> None:
    page = visit("/?gallery=cards")
    expect(page.get_by_role("list", name="Pictures").get_by_role("listitem")).to_have_count(32)
    page.keyboard.press("Tab")
    has_focus(page, "link", "Skip to the pictures")
    page.keyboard.press("/")
    has_focus(page, "searchbox", "Search pictures")
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("reranked")
    tab_to(page, "#hits a")
    expect(page.locator("#hits li").nth(0).get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#hits li").nth(1).get_by_role("link")).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator("#hits li").last.get_by_role("link")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    tab_to(page, "dialog[open] input, dialog[open] textarea")
    page.keyboard.type("what is left of the car ?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log", name="Conversation")).to_contain_text("apple")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#hits li").first.get_by_role("link")).to_be_focused()


def test_the_sliders_are_moved_and_the_views_are_reached_by_keyboard(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    expect(page.locator("#status")).to_contain_text("reranked")
    tab_to(page, "input[type=range]")
    page.keyboard.press("Home")
    expect(page.locator("#hits li").first).to_have_attribute("data-itc-rank", "1")
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "nav a[href*=galleries]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="All galleries")).to_be_visible()
    tab_to(page, "main button")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="New gallery")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    has_focus(page, "button", "New gallery")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not lead to {selector}")


# -------------------------------------------------------------------------------------------------------- narrow screen


def test_a_word_that_is_wider_than_the_card_is_broken(visit: Visit) -> None:
    page = visit("/?gallery=cards&item=1", width=360, height=740)
    card = page.get_by_role("dialog")
    card.get_by_role("textbox", name="Ask about this picture").fill("x" * 300)
    card.get_by_role("button", name="Ask", exact=True).click()
    expect(card.get_by_role("log", name="Conversation").locator(".note")).to_contain_text("does not know")
    assert card.evaluate("(card) => card.scrollWidth") <= 360
    assert card.get_by_role("log").evaluate("(log) => log.scrollWidth <= log.clientWidth")


def test_a_search_works_on_a_narrow_screen_and_its_settings_are_folded_away(visit: Visit) -> None:
    page = visit("/?gallery=cards", width=360, height=740, has_touch=True)
    page.get_by_role("searchbox", name="Search pictures").fill(QUERY)
    page.get_by_role("button", name="Search", exact=True).tap()
    expect(page.locator("#status")).to_contain_text("reranked")
    depth = page.get_by_role("slider", name="Candidates reranked")
    expect(depth).to_be_hidden()
    page.get_by_text("Settings of the search").tap()
    expect(depth).to_be_visible()
    page.locator("#hits li").first.get_by_role("link").tap()
    expect(page.get_by_role("dialog")).to_be_visible()


# ------------------------------------------------------------------------------------------------------------- problems


def test_a_service_that_does_not_answer_is_a_sentence_with_a_way_on(visit: Visit) -> None:
    page = visit("/?gallery=cards&q=a horse")
    expect(page.locator("#status")).to_contain_text("reranked")
    page.context.set_offline(True)
    page.get_by_role("searchbox", name="Search pictures").fill(QUERY)
    page.keyboard.press("Enter")
    problem = page.get_by_role("alert").filter(has_text="does not answer")
    expect(problem).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text(QUERY)
    expect(page.locator("#hits li")).to_have_count(0)
    expect(page.locator("#controls")).to_be_hidden()
    page.context.set_offline(False)
    problem.get_by_role("button", name="Try again").click()
    expect(page.locator("#status")).to_contain_text("reranked")
    expect(problem).to_be_hidden()


def test_a_gallery_that_is_not_there_is_told_with_what_to_do(visit: Visit) -> None:
    page = show(visit, "problem")
    expect(page.get_by_role("alert")).to_contain_text("nowhere")
    page.get_by_role("combobox", name="Gallery").select_option("cards")
    expect(page.locator("#wall li").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("")


def test_a_file_that_is_no_picture_is_told_by_a_sentence(visit: Visit, tmp_path: Path) -> None:
    page = visit("/?gallery=cards")
    (tmp_path / "notes.png").write_text("no picture")
    page.get_by_label("Picture to search by").set_input_files(tmp_path / "notes.png")
    expect(page.get_by_role("alert")).to_contain_text("picture")


def test_a_picture_that_is_too_large_is_told_by_a_sentence(visit: Visit, tmp_path: Path) -> None:
    page = visit("/?gallery=cards")
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(21 << 20))
    page.get_by_label("Picture to search by").set_input_files(tmp_path / "large.png")
    expect(page.get_by_role("alert")).to_contain_text("MB")


@pytest.mark.parametrize("key", ["item", "like"])
def test_an_item_that_is_not_there_is_told_by_a_sentence_above_the_wall(visit: Visit, key: str) -> None:
    page = visit(f"/?gallery=cards&{key}=999999")
    # The card says it too, until it is closed.
    expect(page.locator("#problem")).to_contain_text("999999")
    expect(page.locator("#wall li").first).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"gallery=cards$"))


def test_what_makes_no_sense_in_an_address_is_put_right(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}&min=7&candidates=0&depth=-4&precision=2&view=foo&item=abc")
    expect(page.locator("#status")).to_contain_text("reranked")
    assert page.url.endswith("/?gallery=cards&q=three+apples+left+of+a+blue+car")
