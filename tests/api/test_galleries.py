"""Galleries over HTTP: which there are, what each holds, and the end of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import Sightline
from api.app import create_app
from api.doors.demo import QUERIES
from api.hosted import Hosted
from api.settings import Settings
from storage import galleries, items, jobs
from storage.holders import new_holder

IsProblem = Callable[[Any, int, str | None], bool]


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
        assert client.get("/v1/jobs").json() == []  # nothing is made that nobody asked for


def test_a_gallery_says_who_reads_its_pictures(cards: TestClient, client: TestClient) -> None:
    shown = cards.get("/v1/galleries/cards").json()
    assert (shown["matcher"], shown["captioner"], shown["answerer"]) == ("postcards",) * 3
    assert (shown["items"], shown["candidates"], shown["jobs"]) == (24, 128, [])
    assert shown["pairs"] >= 24
    plain = client.get("/v1/galleries/photos").json()
    assert (plain["matcher"], plain["captioner"], plain["answerer"], plain["pairs"]) == (None, None, None, 3)


def test_a_gallery_without_a_model_is_shown_too(sightline: Sightline, photos: Path, settings: Settings) -> None:
    sightline.index(photos, gallery="plain")
    with TestClient(create_app(settings)) as client:
        shown = client.get("/v1/galleries/plain").json()
    assert (shown["model"], shown["matcher"], shown["candidates"], shown["items"]) == (None, None, 0, 5)


def test_examples_are_short_given_texts(client: TestClient) -> None:
    examples = client.get("/v1/galleries/photos").json()["examples"]
    assert examples == ["red", "green", "blue sky"]
    assert client.get("/v1/galleries/photos").json()["examples"] == examples


def test_examples_are_spread_over_many_texts(sightline: Sightline, photos: Path, settings: Settings) -> None:
    long = "a text of more than sixty signs, which nobody would type into a search box"
    texts = [*(f"text {i:02d}" for i in range(60)), long]
    (photos / "captions.jsonl").write_text(f'{{"file": "a.png", "texts": {texts}}}\n'.replace("'", '"'))
    sightline.index(photos, gallery="photos", model="hashing")
    with TestClient(create_app(settings)) as client:
        examples = client.get("/v1/galleries/photos").json()["examples"]
    assert examples == ["text 00", "text 10", "text 20", "text 30", "text 40", "text 50"]


def test_examples_are_taken_from_the_first_texts_of_many(
    sightline: Sightline, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "FIRST", 12)
    texts = [f"text {i:02d}" for i in range(60)]
    (photos / "captions.jsonl").write_text(json.dumps({"file": "a.png", "texts": texts}))
    sightline.index(photos, gallery="photos", model="hashing")
    assert sightline.detail("photos").examples == tuple(texts[:12:2])


def test_the_demo_asks_for_what_it_shows(cards_home: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "demo-home", offline=True)
    library = Hosted(settings=settings)
    library.index(cards_home.parent / "cards", gallery="demo", model="postcards")
    assert library.detail("demo").examples == QUERIES
    library.close()


def test_pictures_are_listed_some_at_a_time(client: TestClient, photos: Path) -> None:
    first = client.get("/v1/galleries/photos/items?limit=3").json()
    second = client.get(f"/v1/galleries/photos/items?limit=3&after={first['next']}").json()
    found = [*first["items"], *second["items"]]
    assert [item["name"] for item in found] == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert found[0] | {"id": 0} == {"id": 0, "uri": str(photos / "a.png"), "name": "a.png", "width": 8, "height": 8}
    assert second["next"] is None
    assert client.get("/v1/galleries/photos/items?limit=5").json()["next"] is None
    assert client.get(f"/v1/galleries/photos/items?after={(1 << 53) - 1}").json() == {"items": [], "next": None}


def test_bad_limits_are_named(client: TestClient, problem: IsProblem) -> None:
    for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("after=-1", "after"), ("after=x", "after")):
        assert problem(client.get(f"/v1/galleries/photos/items?{query}"), 422, field)


def test_an_unknown_gallery_is_404(client: TestClient, problem: IsProblem) -> None:
    for name in ("nowhere", "PHOTOS", "%00", "x" * 300):
        for path in ("", "/items", "/failed"):
            assert problem(client.get(f"/v1/galleries/{name}{path}"), 404, "name")
        assert problem(client.delete(f"/v1/galleries/{name}"), 404, "name")


def test_a_deleted_gallery_is_gone_and_its_folder_is_not(client: TestClient, photos: Path, home: Path) -> None:
    assert client.delete("/v1/galleries/photos").status_code == 204
    assert client.get("/v1/galleries").json() == []
    assert client.get("/v1/galleries/photos/search?text=x&rerank=false").status_code == 404
    assert len(list(photos.glob("*.png"))) == 5
    assert list((home / "vectors").iterdir()) == []


def test_a_gallery_that_is_being_written_is_not_deleted(
    client: TestClient, problem: IsProblem, sightline: Sightline
) -> None:
    gallery, holder = sightline.gallery("photos"), new_holder()
    with sightline.wiring.database.writing() as session:
        galleries.acquire_lease(session, gallery, holder)
    assert problem(client.delete("/v1/galleries/photos"), 409, None)
    with sightline.wiring.database.writing() as session:
        galleries.release_lease(session, gallery, holder)
        job_id = jobs.begin(session, "evaluate", "photos", holder)
    assert problem(client.delete("/v1/galleries/photos"), 409, None)
    assert f"job {job_id} (evaluate)" in client.delete("/v1/galleries/photos").json()["detail"]
    with sightline.wiring.database.writing() as session:
        jobs.finish(session, job_id, holder, state=jobs.DONE, report={})
    assert client.delete("/v1/galleries/photos").status_code == 204


def test_models_that_are_here_can_be_chosen(client: TestClient, problem: IsProblem) -> None:
    names = [model["name"] for model in client.get("/v1/models?role=encoder").json()]
    assert names == [model["name"] for model in client.get("/v1/models").json()]
    assert "postcards" in names
    assert "hashing" not in names
    assert all(model["cached"] for model in client.get("/v1/models").json())
    assert problem(client.get("/v1/models?role=x"), 422, "role")
