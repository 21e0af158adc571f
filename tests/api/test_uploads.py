"""POST /v1/galleries/{name}/pictures: files that are kept for a gallery, and what is made of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from api.app import create_app
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]
UPLOAD = "/v1/galleries/holiday/pictures"


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(model="hashing")), raise_server_exceptions=False) as client:
        yield client


def picture(red: int = 200, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (red, 1, 2)).save(file, kind)
    return file.getvalue()


def send(client: TestClient, *files: tuple[str, bytes], address: str = UPLOAD) -> dict[str, Any]:
    answer = client.post(address, files=[("image", file) for file in files])
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def index(client: TestClient, gallery: str = "holiday") -> dict[str, Any]:
    job: dict[str, Any] = client.post("/v1/jobs", json={"kind": "index", "gallery": gallery}).json()
    deadline = monotonic() + 60
    while job["state"] in ("waiting", "running"):
        assert monotonic() < deadline, job
        sleep(0.02)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    assert job["state"] == "done", job
    return job


def names(client: TestClient, gallery: str = "holiday") -> list[str]:
    return sorted(item["name"] for item in client.get(f"/v1/galleries/{gallery}/items").json()["items"])


def test_uploaded_pictures_become_a_gallery(client: TestClient, home: Path) -> None:
    sent = [
        ("a.png", picture(1)),
        ("beach/b c.jpg", picture(2, "JPEG")),
        ("ü/<img src=x onerror=alert(1)>.jpg", picture(3)),
    ]
    assert send(client, *sent) == {"stored": 3, "skipped": []}
    assert index(client)["report"]["added"] == 3
    assert names(client) == sorted(name for name, _ in sent)
    assert client.get("/v1/galleries/holiday").json()["sources"] == [str(home / "uploads" / "holiday")]
    item = client.get("/v1/galleries/holiday/items").json()["items"][0]
    assert client.get(f"/v1/items/{item['id']}/image").content == dict(sent)[item["name"]]


def test_what_is_no_picture_is_named_with_a_reason_and_the_rest_is_kept(client: TestClient, home: Path) -> None:
    outcome = send(
        client,
        ("a.png", picture()),
        ("notes.txt", b"no picture"),
        ("empty.png", b""),
        ("film.mp4", b"\0\0\0\x18ftypmp42"),
        ("../../escape.png", picture()),
        ("/etc/cron.d/x.png", picture()),
        (".DS_Store.png", picture()),
        ("sub/captions.jsonl", b""),
        ("captions.jsonl", b"no JSON"),
    )
    assert outcome["stored"] == 1
    reasons = {one["uri"]: one["reason"] for one in outcome["skipped"]}
    assert list(reasons) == [
        "notes.txt",
        "empty.png",
        "film.mp4",
        "../../escape.png",
        "/etc/cron.d/x.png",
        ".DS_Store.png",
        "sub/captions.jsonl",
        "captions.jsonl",
    ]
    assert reasons["notes.txt"] == "not an image"
    assert reasons["empty.png"] == "empty file"
    assert reasons["film.mp4"] == "unsupported format: video"
    assert "not JSON" in reasons["captions.jsonl"]
    assert [path.name for path in (home / "uploads").rglob("*") if path.is_file()] == ["a.png"]


def test_captions_come_along(client: TestClient) -> None:
    send(client, ("a.png", picture()), ("captions.jsonl", b'{"file": "a.png", "texts": ["a red square"]}\n'))
    assert index(client)["report"]["pairs"] == 1
    assert client.get("/v1/galleries/holiday").json()["examples"] == ["a red square"]


def test_a_name_sent_again_replaces_the_picture(client: TestClient) -> None:
    send(client, ("a.png", picture(1)), ("b.png", picture(2)))
    index(client)
    send(client, ("a.png", picture(1)), ("b.png", picture(3)))
    report = index(client)["report"]
    assert (report["unchanged"], report["added"], report["removed"]) == (1, 1, 0)
    assert names(client) == ["a.png", "b.png"]


def test_pictures_are_added_to_a_gallery_of_a_folder(client: TestClient, photos: Path) -> None:
    client.post("/v1/jobs", json={"kind": "index", "gallery": "holiday", "folder": str(photos)})
    send(client, ("more.png", picture()))
    index(client)
    assert names(client) == ["a.png", "b.png", "c.png", "d.png", "e.png", "more.png"]
    index(client)
    assert len(client.get("/v1/galleries/holiday").json()["sources"]) == 2


def test_deleting_a_gallery_takes_what_was_uploaded_and_nothing_else(
    client: TestClient, home: Path, photos: Path
) -> None:
    client.post("/v1/jobs", json={"kind": "index", "gallery": "holiday", "folder": str(photos)})
    send(client, ("a.png", picture()))
    send(client, ("a.png", picture()), address="/v1/galleries/other/pictures")
    index(client)
    assert client.delete("/v1/galleries/holiday").status_code == 204
    assert [path.name for path in (home / "uploads").iterdir()] == ["other"]
    assert len(list(photos.iterdir())) == 5


def test_pictures_of_a_gallery_that_was_never_made_can_be_deleted(client: TestClient, home: Path) -> None:
    send(client, ("a.png", picture()))
    assert client.delete("/v1/galleries/holiday").status_code == 204
    assert client.delete("/v1/galleries/holiday").status_code == 404
    assert list((home / "uploads").iterdir()) == []


@pytest.mark.parametrize("name", ["Holiday", "a b", "..", "x" * 65, "%00"])
def test_a_gallery_has_a_name_that_can_be(client: TestClient, problem: IsProblem, name: str) -> None:
    address = f"/v1/galleries/{name.replace('..', '%2e%2e')}/pictures"
    assert problem(client.post(address, files={"image": ("a.png", picture())}), 422, "name")


def test_all_uploads_together_have_a_bound(home: Path, problem: IsProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_UPLOADS_BYTES", str(len(picture())))
    with TestClient(create_app(Settings(model="hashing"))) as client:
        send(client, ("a.png", picture()))
        answer = client.post(UPLOAD, files={"image": ("b.png", picture())})
        assert problem(answer, 507, None)
        assert "SIGHTLINE_UPLOADS_BYTES" in answer.json()["detail"]


def test_nothing_is_read_where_there_is_no_room_for_it(client: TestClient, problem: IsProblem) -> None:
    client.app.state.service.uploads.limit = 0  # type: ignore[attr-defined]
    for address in (UPLOAD, "/v1/pictures"):
        assert problem(client.post(address, content=b"no form of pictures"), 429, None)


def test_a_full_disk_is_said(client: TestClient, problem: IsProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for address in (UPLOAD, "/v1/pictures"):
        assert problem(client.post(address, files={"image": ("a.png", picture())}), 507, None)


def test_what_a_killed_deletion_left_is_swept_up(home: Path) -> None:
    left = home / "uploads" / f".{'0' * 32}" / "beach"
    left.mkdir(parents=True)
    with TestClient(create_app(Settings(model="hashing"))) as client:
        send(client, ("a.png", picture()))
        index(client)  # by the worker, which sweeps first
    assert [path.name for path in (home / "uploads").iterdir()] == ["holiday"]


def test_a_body_that_is_no_form_of_pictures_is_refused(client: TestClient, problem: IsProblem) -> None:
    assert problem(client.post(UPLOAD, content=picture(), headers={"content-type": "image/png"}), 422, "image")
    assert problem(client.post(UPLOAD, files={"file": ("a.png", picture())}), 422, "file")
    assert problem(client.post(UPLOAD, files={"image": ("a.png", picture())}, data={"x": "y"}), 422, "body")
    assert problem(client.post(UPLOAD, files=[("image", ("a.png", picture()))] * 33), 422, "body")
    assert problem(client.post(UPLOAD, files={"image": ("a.png", b"x" * (21 << 20))}), 413, "image")
