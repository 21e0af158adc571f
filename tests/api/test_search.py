"""GET and POST /v1/galleries/{name}/search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import Sightline
from api.app import create_app
from api.schemas import PageOut
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]
SEARCH = "/v1/galleries/photos/search"


def test_a_text_finds_what_the_library_finds(client: TestClient, sightline: Sightline) -> None:
    answer = client.get(SEARCH, params={"text": "red", "k": 3, "rerank": False})
    assert answer.json() == PageOut.of(sightline.search("photos", "red", k=3, rerank=False)).model_dump()
    assert [hit["rank"] for hit in answer.json()["hits"]] == [1, 2, 3]


def test_ten_hits_are_given_unless_k_says_otherwise(cards: TestClient) -> None:
    for rerank in ("true", "false"):
        assert len(cards.get(f"/v1/galleries/cards/search?text=boat&rerank={rerank}").json()["hits"]) == 10


def test_queries_are_reranked_unless_told_otherwise(cards: TestClient, cards_home: Path) -> None:
    library = Sightline(settings=Settings(home=cards_home, offline=True))
    for rerank, stages in ((True, "itc+itm"), (False, "itc")):
        page = cards.get("/v1/galleries/cards/search", params={"text": "a red car", "rerank": rerank}).json()
        expected = library.search("cards", "a red car", rerank=rerank)
        assert page["stages"] == stages
        assert [hit["id"] for hit in page["hits"]] == [hit.id for hit in expected]
    library.close()


def test_candidates_say_how_many_are_reranked(cards: TestClient) -> None:
    page = cards.get("/v1/galleries/cards/search?text=a+red+car&k=1&candidates=5").json()
    assert page["hits"][0]["itc_rank"] <= 5


def test_unknown_words_are_named(cards: TestClient) -> None:
    for rerank in ("true", "false"):
        page = cards.get(f"/v1/galleries/cards/search?text=a+red+zeppelin&rerank={rerank}").json()
        assert page["unknown_words"] == ["zeppelin"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "text"),
        ("text=", "text"),
        ("text=%20%09", "text"),
        (f"text={'x' * 10_001}", "text"),
        ("text=x&k=0", "k"),
        ("text=x&k=-1", "k"),
        ("text=x&k=1001", "k"),
        ("text=x&k=ten", "k"),
        ("text=x&k=", "k"),
        ("text=x&k=1.5", "k"),
        ("text=x&candidates=0", "candidates"),
        ("text=x&candidates=2001", "candidates"),
        ("text=x&rerank=maybe", "rerank"),
    ],
)
def test_a_bad_parameter_is_named(client: TestClient, problem: IsProblem, query: str, field: str) -> None:
    assert problem(client.get(f"{SEARCH}?{query}"), 422, field)
    if field != "rerank":
        assert problem(client.get(f"{SEARCH}?{query}&rerank=false"), 422, field)


def test_a_problem_says_what_would_be_right(client: TestClient) -> None:
    assert client.get(f"{SEARCH}?text=x&k=1001").json() == {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "k: input should be less than or equal to 1000, not '1001'",
        "field": "k",
    }


def test_all_bad_parameters_are_told_at_once(client: TestClient) -> None:
    body = client.get(f"{SEARCH}?text=&k=0").json()
    assert body["field"] == "text"
    assert "text: " in body["detail"]
    assert "k: " in body["detail"]


@pytest.mark.parametrize("name", ["nowhere", "PHOTOS", "..", "%00", "%F0%9F%90%A7", "x" * 300])
@pytest.mark.parametrize("rerank", ["true", "false"])
def test_an_unknown_gallery_is_404(client: TestClient, problem: IsProblem, name: str, rerank: str) -> None:
    field = None if name == ".." else "name"  # clients resolve the dots before they ask
    assert problem(client.get(f"/v1/galleries/{name}/search?text=x&rerank={rerank}"), 404, field)


def test_the_name_of_a_folder_is_no_gallery(
    client: TestClient, problem: IsProblem, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    (photos.parent / "elsewhere").mkdir()
    for rerank in ("true", "false"):
        assert problem(client.get(f"/v1/galleries/elsewhere/search?text=x&rerank={rerank}"), 404, "name")
    assert [row["name"] for row in client.get("/v1/galleries").json()] == ["photos"]


def test_a_picture_finds_itself(client: TestClient, photos: Path) -> None:
    picture = (photos / "c.png").read_bytes()
    as_form = client.post(f"{SEARCH}?k=1", files={"image": ("c.png", picture, "image/png")})
    as_body = client.post(f"{SEARCH}?k=1", content=picture, headers={"content-type": "image/png"})
    as_bytes = client.post(f"{SEARCH}?k=1", content=picture, headers={"content-type": "application/octet-stream"})
    (hit,) = as_form.json()["hits"]
    assert hit["uri"].endswith("/c.png")
    assert hit["itc_similarity"] == pytest.approx(1)
    assert as_form.json() == as_body.json() == as_bytes.json()


def test_a_picture_and_a_text_are_searched_together(cards: TestClient, card: bytes) -> None:
    address = "/v1/galleries/cards/search"
    both = cards.post(f"{address}?text=at+night", files={"image": ("x.png", card)}).json()
    alone = cards.post(address, files={"image": ("x.png", card)}).json()
    assert (both["stages"], alone["stages"]) == ("itc+itm", "itc")
    assert alone["hits"][0]["uri"].endswith("postcard-0001.png")
    assert both["hits"] != alone["hits"]


@pytest.mark.parametrize(
    ("content", "kind", "field"),
    [
        (b"", "image/png", "image"),
        (b"no picture", "image/png", "image"),
        (b"%PDF-1.7", "image/png", "image"),
        (b"\x89PNG\r\n\x1a\n", "image/png", "image"),
        (b"{}", "application/json", "image"),
        (b"{}", "", "image"),
        (b"text=x", "application/x-www-form-urlencoded", "image"),
        (b"x", "multipart/form-data", "body"),
        (b"x", "multipart/form-data; boundary=y", "body"),
        (b"--y\r\n\r\nx\r\n--y--\r\n", "multipart/form-data; boundary=y", "body"),
    ],
)
def test_a_body_that_holds_no_picture_is_refused(
    client: TestClient, problem: IsProblem, content: bytes, kind: str, field: str
) -> None:
    assert problem(client.post(SEARCH, content=content, headers={"content-type": kind}), 422, field)


def test_a_form_holds_one_picture_and_nothing_else(client: TestClient, problem: IsProblem, photos: Path) -> None:
    picture = (photos / "a.png").read_bytes()
    assert problem(client.post(SEARCH, files=[("image", ("a", picture)), ("more", ("b", picture))]), 422, "more")
    assert problem(client.post(SEARCH, files={"image": ("a", picture)}, data={"text": "red"}), 422, "text")
    assert problem(client.post(SEARCH, files={"image": ("a", b"")}), 422, "image")
    nothing = b'--y\r\nContent-Disposition: form-data; name="text"\r\n\r\nred\r\n--y--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=y"}
    assert problem(client.post(SEARCH, content=nothing, headers=headers), 422, "text")
    assert problem(client.post(SEARCH, content=b"--y--\r\n", headers=headers), 422, "image")


def test_a_picture_of_too_many_pixels_is_refused(
    gallery: str, settings: Settings, problem: IsProblem, paint: Callable[..., Path], tmp_path: Path
) -> None:
    large = paint(tmp_path / "large.png", size=(11, 10)).read_bytes()
    with TestClient(create_app(settings.model_copy(update={"pixel_limit": 100}))) as client:
        answer = client.post(SEARCH, content=large, headers={"content-type": "image/png"})
    assert problem(answer, 422, "image")
    assert "11 x 10 pixels, the limit is 100" in answer.json()["detail"]


def test_an_empty_text_beside_a_picture_is_refused(client: TestClient, problem: IsProblem, photos: Path) -> None:
    picture = (photos / "a.png").read_bytes()
    for text in ("", "%20"):
        assert problem(client.post(f"{SEARCH}?text={text}", files={"image": ("a", picture)}), 422, "text")


def test_a_gallery_without_a_model_is_searched_by_names(
    sightline: Sightline, photos: Path, settings: Settings, problem: IsProblem
) -> None:
    sightline.index(photos, gallery="plain")
    with TestClient(create_app(settings)) as client:
        for rerank in ("true", "false"):
            page = client.get(f"/v1/galleries/plain/search?text=b&rerank={rerank}").json()
            assert (page["stages"], page["model"]) == ("names", None)
            assert [hit["uri"] for hit in page["hits"]] == [str(photos / "b.png")]
            assert page["hits"][0]["match_probability"] is None
        picture = (photos / "a.png").read_bytes()
        for verb in ("search", "lookup"):
            answer = client.post(f"/v1/galleries/plain/{verb}", files={"image": ("a", picture)})
            assert problem(answer, 409, "name")


def test_a_gallery_of_other_weights_is_409(
    gallery: str, settings: Settings, problem: IsProblem, sightline: Sightline
) -> None:
    app = create_app(settings)
    with TestClient(app) as client, sightline.wiring.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE galleries SET fingerprint = 'other'")
        connection.commit()
        for rerank in ("true", "false"):
            assert problem(client.get(f"{SEARCH}?text=x&rerank={rerank}"), 409, "name")


@pytest.mark.parametrize("path", ["/v1/galleries/photos/search", "/v1/galleries/photos/search/events"])
def test_a_misspelt_parameter_is_refused_with_those_that_there_are(
    client: TestClient, problem: IsProblem, path: str
) -> None:
    answer = client.get(path, params={"text": "red", "min-match": 0.5})
    assert problem(answer, 422, "min-match")
    assert "min_match" in answer.json()["detail"]


def test_a_parameter_of_an_address_that_takes_none_does_no_harm(client: TestClient) -> None:
    assert client.get("/v1/items/1/thumbnail", params={"v": 2}).status_code == 200
