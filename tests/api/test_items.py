"""GET /v1/items/{id}, its picture, and questions about it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api import Sightline
from api.app import create_app
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]


def item_ids(sightline: Sightline) -> dict[str, int]:
    """The ids of the pictures by file name."""
    hits = sightline.search("photos", "x", k=100, rerank=False)
    return {hit.uri.rpartition("/")[2]: hit.id for hit in hits}


@pytest.fixture
def ids(sightline: Sightline, gallery: str) -> dict[str, int]:
    return item_ids(sightline)


def test_an_item_tells_what_is_known_of_it(client: TestClient, ids: dict[str, int], photos: Path) -> None:
    body = client.get(f"/v1/items/{ids['a.png']}").json()
    assert body.pop("content_hash")
    assert body.pop("created_at")
    assert body == {
        "id": ids["a.png"],
        "kind": "image",
        "uri": str(photos / "a.png"),
        "name": "a.png",
        "source": str(photos),
        "gallery": "photos",
        "size": (photos / "a.png").stat().st_size,
        "width": 8,
        "height": 8,
        "text": None,
        "split": None,
        "metadata": {},
    }


@pytest.mark.parametrize("path", ["", "/image", "/thumbnail", "/texts", "/ask"])
@pytest.mark.parametrize("item_id", [0, -1, 999, 1 << 53, 1 << 63, 10**30])
def test_an_unknown_item_is_404(client: TestClient, problem: IsProblem, item_id: int, path: str) -> None:
    address = f"/v1/items/{item_id}{path}"
    assert problem(client.post(address) if path == "/ask" else client.get(address), 404, "id")


def test_an_id_is_a_whole_number(client: TestClient, problem: IsProblem) -> None:
    for word in ("a", "1.5", "1e3", "9" * 5000):
        assert problem(client.get(f"/v1/items/{word}"), 422, "id")


def test_the_original_is_given_byte_for_byte(client: TestClient, ids: dict[str, int], photos: Path) -> None:
    answer = client.get(f"/v1/items/{ids['a.png']}/image")
    assert answer.content == (photos / "a.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''a.png"


def test_a_known_picture_is_not_sent_again(client: TestClient, ids: dict[str, int]) -> None:
    for path in ("image", "thumbnail"):
        address = f"/v1/items/{ids['a.png']}/{path}"
        tag = client.get(address).headers["etag"]
        again = client.get(address, headers={"if-none-match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_the_type_is_what_the_bytes_say_and_names_do_no_harm(
    sightline: Sightline, photos: Path, settings: Settings
) -> None:
    name = 'caf\u00e9 "x"\r\nSet-Cookie: a=b; \udcff.html'
    Image.new("RGB", (9, 9), (1, 2, 3)).save(photos / name, "GIF")
    Image.new("RGB", (9, 9), (1, 2, 4)).save(photos / "odd.png", "TGA")
    sightline.index(photos, gallery="photos", model="hashing")
    ids = item_ids(sightline)
    with TestClient(create_app(settings)) as client:
        answers = [client.get(f"/v1/items/{ids[one]}/image") for one in ids if one.endswith((".html", "odd.png"))]
    kinds = {answer.headers["content-type"]: answer for answer in answers}
    assert set(kinds) == {"image/gif", "application/octet-stream"}
    assert "set-cookie" not in kinds["image/gif"].headers
    disposition = kinds["image/gif"].headers["content-disposition"]
    assert disposition.startswith("inline; filename*=UTF-8''caf%C3%A9%20%22x%22%0D%0ASet-Cookie%3A")


def test_a_picture_that_is_gone_or_changed_is_410(
    gallery: str, sightline: Sightline, settings: Settings, problem: IsProblem, photos: Path
) -> None:
    ids = item_ids(sightline)
    (photos / "a.png").unlink()
    (photos / "b.png").write_bytes((photos / "c.png").read_bytes() + b"more")
    (photos / "c.png").unlink()
    (photos / "c.png").mkdir()
    # Only now: a service that has seen a picture has its thumbnail.
    with TestClient(create_app(settings)) as client:
        for name in ("a.png", "b.png", "c.png"):
            for path in ("image", "thumbnail"):
                answer = client.get(f"/v1/items/{ids[name]}/{path}")
                assert problem(answer, 410, "id")
                assert answer.json()["detail"].count(name) == 1


def test_a_thumbnail_is_small_and_made_once(
    sightline: Sightline, photos: Path, settings: Settings, paint: Callable[..., Path]
) -> None:
    paint(photos / "large.png", size=(2000, 1000))
    sightline.index(photos, gallery="photos", model="hashing")
    large = item_ids(sightline)["large.png"]
    with TestClient(create_app(settings)) as client:
        first = client.get(f"/v1/items/{large}/thumbnail")
        (photos / "large.png").unlink()
        assert client.get(f"/v1/items/{large}/thumbnail").content == first.content
    assert first.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(first.content)).size == (320, 160)


def test_a_text_has_no_picture(client: TestClient, problem: IsProblem, sightline: Sightline, photos: Path) -> None:
    (text,) = sightline.lookup(photos / "a.png", "photos", k=1, rerank=False)
    assert client.get(f"/v1/items/{text.id}").json()["kind"] == "text"
    assert problem(client.get(f"/v1/items/{text.id}/image"), 422, "id")
    assert problem(client.get(f"/v1/items/{text.id}/thumbnail"), 422, "id")
    assert problem(client.post(f"/v1/items/{text.id}/ask"), 422, "id")


def test_a_picture_is_described_or_answers_a_question(cards: TestClient, cards_home: Path) -> None:
    library = Sightline(settings=Settings(home=cards_home, offline=True))
    caption, answer = library.ask(1), library.ask(1, "where is it ?")
    library.close()
    for described in (cards.post("/v1/items/1/ask"), cards.post("/v1/items/1/ask", json={})):
        assert described.json() == {
            "item_id": 1,
            "question": None,
            "text": caption.text,
            "model": "postcards",
            "unknown_words": [],
        }
    asked = cards.post("/v1/items/1/ask", json={"question": "where is the giraffe?"})
    assert asked.json()["unknown_words"] == ["giraffe"]
    assert cards.post("/v1/items/1/ask", json={"question": "where is it ?"}).json()["text"] == answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"question": ""}', "question"),
        (b'{"question": " "}', "question"),
        (b'{"question": 5}', "question"),
        (b'{"question": "\\ud800"}', "question"),
        (b'{"question": "' + b"x" * 10_001 + b'"}', "question"),
        (b'{"frage": "x"}', "frage"),
        (b"[]", "body"),
        (b"{", "body"),
    ],
)
def test_a_bad_question_is_named(
    client: TestClient, problem: IsProblem, ids: dict[str, int], body: bytes, field: str
) -> None:
    headers = {"content-type": "application/json"}
    assert problem(client.post(f"/v1/items/{ids['a.png']}/ask", content=body, headers=headers), 422, field)


def test_a_question_that_is_no_text_is_named(client: TestClient, problem: IsProblem, ids: dict[str, int]) -> None:
    headers = {"content-type": "application/json"}
    assert problem(client.post(f"/v1/items/{ids['a.png']}/ask", content=b"\xff", headers=headers), 400, "body")


def test_a_model_that_cannot_answer_is_409(client: TestClient, problem: IsProblem, ids: dict[str, int]) -> None:
    assert problem(client.post(f"/v1/items/{ids['a.png']}/ask"), 409, "name")


def test_a_file_that_failed_is_not_handed_out(
    client: TestClient, problem: IsProblem, photos: Path, sightline: Sightline
) -> None:
    (photos / "secret.txt").write_text("password")
    sightline.index(photos, gallery="photos")
    (failed,) = sightline.failed("photos")
    for path in ("", "/image", "/thumbnail"):
        assert problem(client.get(f"/v1/items/{failed.id}{path}"), 404, "id")


def test_head_is_answered_wherever_get_is(client: TestClient, ids: dict[str, int]) -> None:
    for path in ("/healthz", "/v1/galleries", f"/v1/items/{next(iter(ids.values()))}/image"):
        assert client.head(path).status_code == 200


def test_the_texts_that_describe_a_picture_best_are_found(cards: TestClient, cards_home: Path, card: bytes) -> None:
    page = cards.get("/v1/items/1/texts").json()
    assert (len(page["hits"]), page["stages"], page["gallery"]) == (5, "itc+itm", "cards")
    looked_up = cards.post("/v1/galleries/cards/lookup?k=3", files={"image": ("x.png", card)}).json()
    shorter = cards.get("/v1/items/1/texts?k=3").json()
    assert [hit["text"] for hit in shorter["hits"]] == [hit["text"] for hit in looked_up["hits"]]


def test_a_gallery_without_texts_has_none_for_a_picture(
    sightline: Sightline, photos: Path, settings: Settings, problem: IsProblem
) -> None:
    sightline.index(photos, gallery="photos", model="hashing")
    picture = item_ids(sightline)["a.png"]
    with TestClient(create_app(settings)) as client:
        assert problem(client.get(f"/v1/items/{picture}/texts"), 409, "texts")


def test_a_name_is_shown_as_a_person_reads_it(sightline: Sightline, photos: Path, settings: Settings) -> None:
    (photos / "100% sure" / "\udcff").mkdir(parents=True)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(photos / "100% sure" / "\udcff" / "ü.gif", "GIF")
    sightline.index(photos, gallery="photos", model="hashing")
    odd = item_ids(sightline)["ü.gif"]
    with TestClient(create_app(settings)) as client:
        body = client.get(f"/v1/items/{odd}").json()
    assert (body["name"], body["uri"]) == ("100% sure/\ufffd/ü.gif", f"{photos}/100%25 sure/%FF/ü.gif")
