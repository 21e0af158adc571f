"""POST and GET /v1/pictures: pictures to search by, and how every picture is handed out."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api import Sightline
from api.app import create_app
from api.settings import Settings
from storage.errors import QueryPictureGone

IsProblem = Callable[[Any, int, str | None], bool]


@pytest.fixture
def red(photos: Path) -> bytes:
    return (photos / "a.png").read_bytes()


def test_a_picture_is_kept_to_search_by(client: TestClient, sightline: Sightline, red: bytes) -> None:
    digest = hashlib.sha256(red).hexdigest()
    as_form = client.post("/v1/pictures", files={"image": ("a.png", red)})
    as_body = client.post("/v1/pictures", content=red, headers={"content-type": "image/png"})
    assert as_form.status_code == as_body.status_code == 201
    assert as_form.json() == as_body.json() == {"picture": digest, "width": 8, "height": 8}
    assert sightline.query_picture(digest) == red


def test_a_picture_that_was_sent_is_given_back(client: TestClient, red: bytes) -> None:
    digest = client.post("/v1/pictures", files={"image": ("a.png", red)}).json()["picture"]
    answer = client.get(f"/v1/pictures/{digest}")
    assert (answer.content, answer.headers["content-type"], answer.headers["etag"]) == (red, "image/png", f'"{digest}"')
    again = client.get(f"/v1/pictures/{digest}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_every_picture_is_handed_out_so_that_nothing_in_it_runs(client: TestClient, red: bytes) -> None:
    digest = client.post("/v1/pictures", files={"image": ("a.png", red)}).json()["picture"]
    item = client.get("/v1/galleries/photos/items").json()["items"][0]["id"]
    for address in (f"/v1/pictures/{digest}", f"/v1/items/{item}/image", f"/v1/items/{item}/thumbnail"):
        headers = client.get(address).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert headers["content-type"].startswith("image/")


def test_what_is_no_picture_is_not_kept(client: TestClient, problem: IsProblem, home: Path) -> None:
    for content in (b"", b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n"):
        assert problem(client.post("/v1/pictures", files={"image": ("a.png", content)}), 422, "image")
    assert not (home / "sent").exists()


def test_a_picture_that_is_not_kept_is_gone(client: TestClient, problem: IsProblem) -> None:
    assert problem(client.get(f"/v1/pictures/{'0' * 64}"), 410, "picture")
    for name in ("x", "A" * 64, "0" * 63, "..%2f" + "0" * 60):
        assert client.get(f"/v1/pictures/{name}").status_code == (404 if "%2f" in name else 422)


def test_only_so_many_are_kept(gallery: str, settings: Settings, photos: Path, problem: IsProblem) -> None:
    with TestClient(create_app(settings.model_copy(update={"sent_pictures": 2}))) as client:
        contents = [path.read_bytes() for path in sorted(photos.glob("*.png"))[:3]]
        first, *others = (
            client.post("/v1/pictures", files={"image": ("x", one)}).json()["picture"] for one in contents
        )
        assert problem(client.get(f"/v1/pictures/{first}"), 410, "picture")
        assert [client.get(f"/v1/pictures/{one}").status_code for one in others] == [200, 200]
        with pytest.raises(QueryPictureGone):
            client.app.state.service.sightline.query_picture(first)  # type: ignore[attr-defined]


def test_the_thumbnail_of_a_noisy_photo_is_small_too(sightline: Sightline, photos: Path, settings: Settings) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "noise.png")
    sightline.index(photos, gallery="photos", model="hashing")
    with TestClient(create_app(settings)) as client:
        items = client.get("/v1/galleries/photos/items").json()["items"]
        (noisy,) = (item["id"] for item in items if item["name"] == "noise.png")
        content = client.get(f"/v1/items/{noisy}/thumbnail").content
    assert len(content) <= 20_000
    assert max(Image.open(io.BytesIO(content)).size) >= 160
