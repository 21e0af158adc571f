"""POST /v1/galleries/{name}/lookup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import Sightline
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]
LOOKUP = "/v1/galleries/cards/lookup"


@pytest.mark.parametrize("rerank", [True, False])
def test_a_picture_finds_the_texts_that_the_library_finds(
    cards: TestClient, card: bytes, cards_home: Path, rerank: bool
) -> None:
    library = Sightline(settings=Settings(home=cards_home, offline=True))
    page = cards.post(LOOKUP, params={"k": 4, "rerank": rerank}, files={"image": ("x.png", card)}).json()
    expected = library.lookup(cards_home.parent / "cards" / "postcard-0001.png", "cards", k=4, rerank=rerank)
    library.close()
    assert page["stages"] == ("itc+itm" if rerank else "itc")
    assert [hit["text"] for hit in page["hits"]] == [hit.text for hit in expected]
    raw = cards.post(LOOKUP, params={"k": 4, "rerank": rerank}, content=card, headers={"content-type": "image/png"})
    again = raw.json()
    assert [hit["id"] for hit in again["hits"]] == [hit["id"] for hit in page["hits"]]
    # The same picture at another place in memory may take another path through the processor's vector units.
    similarities = [[hit["itc_similarity"] for hit in one["hits"]] for one in (page, again)]
    assert similarities[0] == pytest.approx(similarities[1], abs=1e-6)


def test_given_texts_are_ranked_instead_of_the_gallerys(cards: TestClient, card: bytes) -> None:
    texts = ["a red car", "a blue boat", "a cat"]
    page = cards.post(LOOKUP, files={"image": ("x.png", card)}, data={"texts": texts}).json()
    assert sorted(hit["text"] for hit in page["hits"]) == sorted(texts)
    assert {hit["uri"]: hit["text"] for hit in page["hits"]} == {f"texts#{i}": t for i, t in enumerate(texts, 1)}


def test_bad_texts_are_named(client: TestClient, problem: IsProblem, photos: Path) -> None:
    picture = {"image": ("a", (photos / "a.png").read_bytes())}
    address = "/v1/galleries/photos/lookup"
    for texts in (["red", ""], ["x" * 10_001]):
        assert problem(client.post(address, files=picture, data={"texts": texts}), 422, "texts")
    assert problem(client.post(address, files=picture, data={"texts": ["x"] * 1001}), 422, "body")


def test_bad_input_is_named(client: TestClient, problem: IsProblem, photos: Path) -> None:
    address = "/v1/galleries/photos/lookup"
    picture = {"image": ("a", (photos / "a.png").read_bytes())}
    assert problem(client.post(f"{address}?k=0", files=picture), 422, "k")
    assert problem(client.post(address), 422, "image")
    assert problem(client.post(address, files={"image": ("a", b"no picture")}), 422, "image")
    assert problem(client.post("/v1/galleries/nowhere/lookup", files=picture), 404, "name")


def test_a_gallery_without_texts_asks_for_some(
    sightline: Sightline, paint: Callable[..., Path], tmp_path: Path, client: TestClient, problem: IsProblem
) -> None:
    picture = paint(tmp_path / "mute" / "a.png").read_bytes()
    sightline.index(tmp_path / "mute", gallery="mute", model="hashing")
    assert problem(client.post("/v1/galleries/mute/lookup", files={"image": ("a", picture)}), 409, "texts")
