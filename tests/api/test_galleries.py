"""GET /v1/galleries."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings


def test_galleries_are_listed_with_counts(client: TestClient, photos: Path) -> None:
    assert client.get("/v1/galleries").json() == [
        {
            "name": "photos",
            "items": 5,
            "texts": 3,
            "failed": 0,
            "model": "hashing",
            "revision": client.get("/v1/galleries").json()[0]["revision"],
            "sources": [str(photos)],
        }
    ]


def test_no_gallery_is_an_empty_list(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/galleries").json() == []
