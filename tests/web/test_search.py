"""Searching on the page: texts, pictures, reranking, thresholds, and the card of a hit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

Visit = Callable[..., Page]
QUERY = "three apples left of a blue car"
"""Drawn on the first postcard, which the first stage finds third and reranking first."""
CARDS = 32
GALLERY = "/v1/galleries/cards"


@pytest.fixture
def ask(visit: Visit) -> Callable[..., Any]:
    """Ask the service itself, as a page would."""
    page = visit("/docs")

    def get(path: str, **parameters: Any) -> Any:
        answer = page.request.get(path, params=parameters)
        assert answer.ok, answer.text()
        return answer.json()

    return get


def hits_of(page: Page) -> Locator:
    return page.get_by_role("list", name="Hits").get_by_role("listitem")


def ids(items: Locator) -> list[int]:
    return [int(one) for one in attributes(items, "data-item-id")]


def attributes(items: Locator, name: str) -> list[str]:
    return items.evaluate_all("(items, name) => items.map((item) => item.getAttribute(name))", name)


def is_reranked(page: Page) -> None:
    """Wait until the matcher has read all candidates."""
    expect(page.locator("#status")).to_contain_text("reranked")


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox", name="Search pictures").fill(text)
    page.get_by_role("button", name="Search", exact=True).click()


def open_first(page: Page) -> Locator:
    hits_of(page).first.get_by_role("link").click()
    card = page.get_by_role("dialog")
    expect(card).to_be_visible()
    return card


def test_before_a_query_the_gallery_is_shown_and_an_example_leads_to_its_hits(visit: Visit, ask: Any) -> None:
    page = visit("/?gallery=cards")
    wall = page.get_by_role("list", name="Pictures").get_by_role("listitem")
    expect(wall).to_have_count(CARDS)
    assert ids(wall) == [item["id"] for item in ask(f"{GALLERY}/items")["items"]]
    example = page.get_by_role("list", name="Examples").get_by_role("link").first
    text = example.inner_text()
    example.click()
    expect(page.get_by_role("searchbox", name="Search pictures")).to_have_value(text)
    expect(page).to_have_url(re.compile(r"min=0\.5"))
    is_reranked(page)


def test_a_long_wall_comes_in_parts_as_one_scrolls(visit: Visit) -> None:
    page = visit("/?gallery=tiles")
    tiles = page.get_by_role("list", name="Pictures").get_by_role("listitem")
    expect(tiles).to_have_count(100)
    page.keyboard.press("End")
    expect(tiles).to_have_count(150)


def test_a_text_is_answered_in_the_order_of_the_service(visit: Visit, ask: Any) -> None:
    page = visit("/?gallery=cards")
    search(page, QUERY)
    is_reranked(page)
    expect(hits_of(page).first).to_have_attribute("data-itc-rank", "3")
    expected = [hit["id"] for hit in ask(f"{GALLERY}/search", text=QUERY, k=CARDS)["hits"]]
    assert ids(hits_of(page)) == expected


def test_the_first_stage_is_shown_at_once_and_reordered_as_the_matcher_reads(visit: Visit, gate: Any) -> None:
    gate.close()
    page = visit(f"/?gallery=cards&q={QUERY}")
    expect(page.locator("#status")).to_contain_text("first stage")
    assert attributes(hits_of(page), "data-itc-rank") == [str(rank) for rank in range(1, CARDS + 1)]
    gate.open()
    is_reranked(page)
    expect(hits_of(page).first).to_have_attribute("data-itc-rank", "3")


def test_reranking_changes_the_order_and_the_slider_goes_back_to_the_first_stage(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    depth = page.get_by_role("slider", name="Candidates reranked")
    final = ids(hits_of(page))
    depth.press("Home")
    expect(hits_of(page).first).to_have_attribute("data-itc-rank", "1")
    shown = attributes(hits_of(page), "data-itc-rank")
    assert shown == [str(rank) for rank in range(1, len(shown) + 1)]
    assert ids(hits_of(page)) != final
    depth.press("End")
    expect(hits_of(page).first).to_have_attribute("data-itc-rank", "3")
    assert ids(hits_of(page)) == final
    depth.press("Home")
    for _ in range(3):
        depth.press("ArrowRight")
    expect(hits_of(page).first).to_have_attribute("data-itc-rank", "3")
    assert attributes(hits_of(page), "data-itc-rank")[3:] == [str(rank) for rank in range(4, len(shown) + 1)]


def test_where_no_hit_reaches_the_threshold_the_page_says_so_and_shows_the_best_below(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    best = ids(hits_of(page))[0]
    threshold = page.get_by_role("slider", name="Minimum match probability")
    threshold.press("End")
    expect(page.get_by_role("heading", name="Nothing matches.")).to_be_visible()
    below = page.get_by_role("list", name="Best below").get_by_role("listitem")
    expect(below).to_have_count(1)
    assert ids(below) == [best]
    threshold.press("ArrowLeft")
    threshold.press("ArrowLeft")
    expect(page.get_by_role("heading", name="Nothing matches.")).to_be_hidden()
    expect(hits_of(page)).to_have_count(2)
    threshold.press("Home")
    assert hits_of(page).count() > 2


def test_no_more_candidates_are_offered_than_there_are_and_a_link_leads_to_those_not_read(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}&candidates=16")
    is_reranked(page)
    candidates = page.get_by_role("combobox", name="Candidates")
    expect(candidates.get_by_role("option")).to_have_text(["16", f"all {CARDS} (usual)"])
    deeper = page.get_by_role("link", name=f"Look among {CARDS} candidates")
    expect(deeper).to_be_visible()
    page.get_by_role("slider", name="Minimum match probability").press("End")
    expect(page.get_by_role("heading", name="Nothing matches.")).to_be_visible()
    expect(deeper).to_have_count(1)
    deeper.click()
    expect(page.locator("#nothing-matches")).to_contain_text(f"None of {CARDS} candidates")
    expect(deeper).to_have_count(0)


def test_another_gallery_is_searched_for_the_same_words(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}&like=1&candidates=16&depth=3&min=0.4")
    is_reranked(page)
    page.get_by_role("combobox", name="Gallery").select_option("tiles")
    expect(page.locator("#status")).to_contain_text("150 hits, ordered by ITC similarity")
    assert page.url.endswith("/?gallery=tiles&q=three+apples+left+of+a+blue+car&min=0.4")
    expect(page.locator("#notes")).to_contain_text("minimum match probability of this address does not count here")
    expect(hits_of(page)).to_have_count(150)


def test_a_gallery_without_a_model_says_so_and_asks_for_nothing_that_must_fail(visit: Visit, watch: Any) -> None:
    page = visit("/?gallery=plain&like=1&min=0.5")
    expect(page.get_by_role("alert")).to_contain_text("cannot be searched by a picture")
    expect(page.locator("#intro")).to_contain_text("made without a model")
    page.get_by_role("list", name="Pictures").get_by_role("link").first.click()
    card = page.get_by_role("dialog")
    expect(card).to_contain_text("made without a model")
    expect(card.get_by_role("region", name="About the file")).to_contain_text("Size")
    assert card.get_by_role("heading", level=3).all_inner_texts() == ["About the file"]
    card.get_by_role("button", name="Close").click()
    search(page, "noise")
    expect(hits_of(page)).to_have_count(1)
    expect(page.locator("#notes")).to_contain_text("--model blip-itm-base-coco")
    search(page, "zyzzyva")
    expect(page.locator("#status")).to_have_text("No name or caption holds these words.")
    page.wait_for_load_state("networkidle")
    assert [url for url in watch.requests if re.search("/ask|/texts|like=.*rerank|events.*(like|min)", url)] == []


def test_a_warning_and_where_a_calibration_is_from_are_said(visit: Visit) -> None:
    warning = "postcards has seen drawn postcards only."
    measured = {"matcher": "postcards", "direction": "text->image", "source": "captions", "method": "isotonic"}
    measured |= {"queries": 76, "hits": 760, "ece": 0.026, "revision": 1, "is_current": True, "precisions": []}
    page = visit("/docs")

    def known(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(json={**answer.json(), "warning": warning, "calibration": {**measured, "bins": []}})

    def found(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(
            content_type="text/event-stream",
            body=answer.text().replace('"calibration":null', f'"calibration":{json.dumps(measured)}'),
        )

    page.route(re.compile(r"/v1/galleries/cards$"), known)
    page.route(re.compile(r"/search/events"), found)
    page.goto("/?gallery=cards")
    expect(page.get_by_role("note")).to_have_text(warning)
    search(page, QUERY)
    is_reranked(page)
    expect(page.get_by_role("note")).to_have_text(warning)
    expect(page.locator("#notes")).to_contain_text("calibrated on 76 captions that postcards wrote itself")
    expect(page.locator("#controls")).to_contain_text("no minimum has a precision of 50 %")
    expect(open_first(page).get_by_role("region", name="How sure")).to_contain_text("captions that postcards wrote")


def test_words_that_the_model_does_not_know_are_named_and_underlined(visit: Visit) -> None:
    page = visit("/?gallery=cards")
    search(page, "a zyzzyva left of a blue car")
    expect(page.locator("#unknown-words")).to_contain_text("zyzzyva")
    expect(page.locator(".mirror mark")).to_have_text(["zyzzyva"])


def test_a_picture_from_this_device_finds_itself_and_can_be_taken_away(visit: Visit, cards: Path) -> None:
    page = visit("/?gallery=cards")
    page.get_by_label("Picture to search by").set_input_files(cards / "postcard-0007.png")
    expect(hits_of(page).first).to_have_attribute("data-itc-rank", "1")
    hits_of(page).first.get_by_role("link").click()
    expect(page.get_by_role("dialog", name="postcard-0007.png")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Remove the picture").click()
    expect(page.get_by_role("list", name="Pictures")).to_be_visible()


def test_a_picture_and_a_text_search_together(visit: Visit, cards: Path) -> None:
    page = visit("/?gallery=cards")
    page.get_by_label("Picture to search by").set_input_files(cards / "postcard-0007.png")
    expect(hits_of(page).first).to_be_visible()
    search(page, QUERY)
    is_reranked(page)
    expect(page.get_by_role("button", name="Remove the picture")).to_be_visible()
    expect(page).to_have_url(re.compile("q=three.*picture="))


def test_a_search_from_a_card_starts_with_its_picture(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    best = ids(hits_of(page))[0]
    open_first(page).get_by_role("link", name="Search with this picture").click()
    expect(page).to_have_url(re.compile(rf"like={best}\b"))
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(hits_of(page).first).to_have_attribute("data-item-id", str(best))


def test_a_card_tells_both_ranks_and_answers_questions(visit: Visit, ask: Any) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    card = open_first(page)
    expect(card).to_have_accessible_name("postcard-0001.png")
    expect(card.locator(".ranks")).to_contain_text("3")
    expect(card.get_by_role("meter", name="Match probability")).to_be_visible()
    card.get_by_role("textbox", name="Ask about this picture").fill("what is left of the car ?")
    card.get_by_role("button", name="Ask", exact=True).click()
    talk = card.get_by_role("log", name="Conversation")
    expect(talk).to_contain_text("what is left of the car ?")
    expect(talk).to_contain_text("apple")


def test_a_card_shows_the_texts_that_describe_its_picture_best(visit: Visit, ask: Any) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    card = open_first(page)
    texts = card.get_by_role("list", name="Texts that describe it").get_by_role("listitem")
    expect(texts).to_have_count(5)
    item = ids(hits_of(page))[0]
    for text, hit in zip(texts.all(), ask(f"/v1/items/{item}/texts", k=5)["hits"], strict=True):
        expect(text).to_contain_text(hit["text"])


def test_a_card_leads_to_its_neighbours_and_to_similar_pictures(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    first, second = ids(hits_of(page))[:2]
    card = open_first(page)
    card.get_by_role("button", name="Next").click()
    expect(page).to_have_url(re.compile(rf"item={second}\b"))
    card.get_by_role("button", name="Previous").click()
    expect(page).to_have_url(re.compile(rf"item={first}\b"))
    expect(card.get_by_role("list", name="Similar pictures").get_by_role("link").first).to_be_visible()


def test_the_address_brings_everything_back(visit: Visit) -> None:
    page = visit(f"/?gallery=cards&q={QUERY}")
    is_reranked(page)
    page.get_by_role("slider", name="Candidates reranked").press("Home")
    page.get_by_role("slider", name="Candidates reranked").press("ArrowRight")
    open_first(page)
    shown, name = ids(hits_of(page)), page.get_by_role("dialog").get_attribute("aria-label")
    address = page.url
    page.reload()
    is_reranked(page)
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.url == address
    assert (ids(hits_of(page)), page.get_by_role("dialog").get_attribute("aria-label")) == (shown, name)
    expect(page.get_by_role("searchbox", name="Search pictures", include_hidden=True)).to_have_value(QUERY)
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("slider", name="Candidates reranked")).to_have_value("1")


def test_back_closes_a_card_and_leads_to_the_search_before(visit: Visit) -> None:
    page = visit("/?gallery=cards")
    search(page, QUERY)
    is_reranked(page)
    before = ids(hits_of(page))
    search(page, "a horse")
    expect(page).to_have_url(re.compile("horse"))
    is_reranked(page)
    open_first(page).get_by_role("button", name="Next").click()
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("searchbox", name="Search pictures")).to_have_value(QUERY)
    expect(hits_of(page).first).to_have_attribute("data-item-id", str(before[0]))


def test_a_late_answer_never_takes_the_place_of_a_newer_one(visit: Visit, gate: Any, ask: Any) -> None:
    gate.close()
    page = visit(f"/?gallery=cards&q={QUERY}")
    expect(page.locator("#status")).to_contain_text("first stage")
    search(page, "a horse")
    gate.open()
    expect(page.get_by_role("heading", level=1)).to_have_text("a horse")
    is_reranked(page)
    assert ids(hits_of(page)) == [hit["id"] for hit in ask(f"{GALLERY}/search", text="a horse", k=CARDS)["hits"]]
