"""What the page may load and run, and that names, captions and questions stay what they are: text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Error, Page, expect

Visit = Callable[..., Page]
HOSTILE = "<img src=x onerror=owned=1>"
INJECTED = "img[src=x], b, i, script:not([src]), [onerror], [onclick], [onload]"


def is_untouched(page: Page) -> None:
    """Check that nothing was taken for markup and nothing ran."""
    expect(page.locator("body")).to_be_visible()
    assert page.locator(INJECTED).count() == 0
    assert page.evaluate("window.owned") is None


def named(page: Page, name: str) -> Any:
    return page.get_by_role("list", name=name).get_by_role("listitem")


# ------------------------------------------------------------------------------------------------ the security policy


def test_the_page_and_its_files_come_with_a_strict_policy(address: str) -> None:
    html = httpx.get(f"{address}/")
    files = re.findall(r'(?:src|href)="(/?assets/[^"]+)"', html.text)
    assert files
    for answer in (html, *(httpx.get(f"{address}/{path.lstrip('/')}") for path in files)):
        assert answer.status_code == 200
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'", "'self'", "'self'")
        assert (policy["base-uri"], policy["frame-ancestors"]) == ("'none'", "'none'")
        assert not re.search(r"unsafe|\*|http|data:", answer.headers["content-security-policy"])
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_holds_no_script_style_or_handler_of_its_own(address: str) -> None:
    html = httpx.get(f"{address}/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
    assert not re.search(r"""(src|href|action)=["']?(https?:)?//""", html)


@pytest.mark.parametrize(
    "attack",
    [
        "document.body.setAttribute('onclick', 'owned = 1')",
        "document.body.innerHTML = '<img src=x onerror=owned=1>'",
        "document.body.append(Object.assign(document.createElement('script'), { text: 'owned = 1' }))",
    ],
)
def test_what_gets_into_the_page_by_a_defect_does_not_run(visit: Visit, watch: Any, attack: str) -> None:
    page = visit("/?gallery=cards")
    with pytest.raises(Error, match="requires 'Trusted"):
        page.evaluate(f"() => {{ {attack} }}")
    assert page.evaluate("window.owned") is None
    assert watch.complaints
    watch.complaints.clear()


# ------------------------------------------------------------------------------------------------------- text is text


def test_names_that_mean_harm_are_shown_as_they_are(visit: Visit) -> None:
    page = visit("/?gallery=names")
    for name in (f"{HOSTILE}.jpg", "'\"&lt;b&gt;.png", "%3Cb%3E #1?.png"):
        page.get_by_role("list", name="Pictures").get_by_role("link", name=name).click()
        card = page.get_by_role("dialog", name=name)
        expect(card).to_be_visible()
        expect(card.get_by_role("region", name="About the file")).to_contain_text(name)
        card.get_by_role("button", name="Close").click()
        is_untouched(page)


def test_captions_that_mean_harm_are_shown_as_they_are(visit: Visit) -> None:
    page = visit("/?gallery=names")
    page.get_by_role("list", name="Pictures").get_by_role("link", name=f"{HOSTILE}.jpg").click()
    card = page.get_by_role("dialog")
    caption = f"{HOSTILE} </script><b>caption 0"
    expect(card.get_by_role("list", name="Texts that describe it")).to_contain_text(caption)
    is_untouched(page)


def test_files_that_were_skipped_are_named_as_they_are(visit: Visit) -> None:
    page = visit("/?view=galleries")
    gallery = page.locator("[data-gallery=names]")
    expect(gallery).to_contain_text("1")
    gallery.get_by_text(re.compile("skipped")).click()
    expect(gallery).to_contain_text("<b>broken.jpg")
    is_untouched(page)


@pytest.mark.parametrize("gallery", ["cards", "names"])
def test_a_query_that_means_harm_is_only_a_query(visit: Visit, gallery: str) -> None:
    page = visit(f"/?gallery={gallery}&q={quote(HOSTILE)}")
    expect(page.get_by_role("searchbox", name="Search pictures")).to_have_value(HOSTILE)
    expect(named(page, "Hits").first).to_be_visible()
    is_untouched(page)


def test_a_gallery_of_the_address_that_means_harm_is_only_a_name(visit: Visit) -> None:
    page = visit(f"/?gallery={quote(HOSTILE)}")
    expect(page.get_by_role("alert")).to_contain_text(HOSTILE)
    is_untouched(page)


def test_a_question_that_means_harm_is_only_a_question(visit: Visit) -> None:
    page = visit("/?gallery=cards&item=1")
    card = page.get_by_role("dialog")
    card.get_by_role("textbox", name="Ask about this picture").fill(HOSTILE)
    card.get_by_role("button", name="Ask", exact=True).click()
    expect(card.get_by_role("log", name="Conversation")).to_contain_text(HOSTILE)
    is_untouched(page)


# ---------------------------------------------------------------------------------------------------- what is loaded


def test_a_wall_asks_for_little_before_its_first_picture_and_never_for_an_original(visit: Visit, watch: Any) -> None:
    page = visit("/?gallery=cards")
    expect(named(page, "Pictures")).to_have_count(32)
    page.wait_for_load_state("networkidle")
    paths = [url.partition("?")[0] for url in watch.requests]
    first = next(i for i, path in enumerate(paths) if path.endswith("/thumbnail"))
    assert len([path for path in paths[:first] if "/v1/" in path]) <= 4
    assert not [path for path in paths if path.endswith("/image")]


def test_a_thumbnail_of_a_noisy_photo_has_at_most_20_kb(address: str) -> None:
    items = httpx.get(f"{address}/v1/galleries/names/items").json()["items"]
    noisy = next(item for item in items if item["name"] == "noise.jpg")
    thumbnail = httpx.get(f"{address}/v1/items/{noisy['id']}/thumbnail")
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert 1_000 < len(thumbnail.content) <= 20_000


def test_a_name_that_is_not_utf_8_is_shown_without_its_odd_bytes(visit: Visit, web_home: Path) -> None:
    page = visit("/?gallery=names")
    expect(page.get_by_role("list", name="Pictures").get_by_role("link", name=re.compile("^caf.*png$"))).to_be_visible()
