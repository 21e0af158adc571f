"""`sightline serve` as a process of its own."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from api import Sightline
from api.deps import CLOSING_SECONDS
from api.doors.demo import FIRST_SCENES
from api.hosted import Hosted
from api.schemas import PageOut
from api.settings import Settings

REQUESTS = 4000
FILES = 2500


@contextmanager
def serving(*options: str, before: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = (sys.executable, "-c", f"{before}\nfrom api.cli import main; main()", "serve", "--port", "0", *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found, "the address is printed first"
            yield process, found[0]
        finally:
            process.kill()


def test_the_address_is_printed_and_ctrl_c_ends_it_quietly(gallery: str, sightline: Sightline) -> None:
    transport = httpx.HTTPTransport(retries=50)
    with serving() as (process, address), httpx.Client(base_url=address, transport=transport, timeout=60) as client:
        page = client.get("/v1/galleries/photos/search?text=red&rerank=false").json()
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert page == PageOut.of(sightline.search("photos", "red", rerank=False)).model_dump()
    assert "Traceback" not in complaints


def watch(client: httpx.Client, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for the newest job until it is as it should be."""
    deadline = monotonic() + 120
    while True:
        jobs: list[dict[str, Any]] = client.get("/v1/jobs").json()
        if jobs and until(jobs[0]):
            return jobs[0]
        assert monotonic() < deadline, jobs
        sleep(0.02)


@pytest.mark.stress
def test_a_killed_service_goes_on_with_its_job_when_it_is_started_again(
    home: Path, tmp_path: Path, paint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_MODEL", "hashing")
    for i in range(FILES):
        paint(tmp_path / "many" / f"{i:04d}.png", (i % 256, i // 256, 7))
    transport = httpx.HTTPTransport(retries=50)
    with serving("--no-demo") as (process, address), httpx.Client(base_url=address, transport=transport) as client:
        assert client.get("/v1/jobs").json() == []  # no demo: nobody wants it
        asked = client.post("/v1/jobs", json={"kind": "index", "gallery": "many", "folder": str(tmp_path / "many")})
        assert asked.status_code == 202
        watch(client, lambda job: job["state"] == "running" and job["report"].get("added", 0) > 0)
        process.kill()
    with serving("--no-demo") as (_, address), httpx.Client(base_url=address, transport=transport) as client:
        job = watch(client, lambda job: job["state"] not in ("waiting", "running"))
        assert (job["id"], job["state"], job["error"]) == (asked.json()["id"], "done", None)
        assert job["report"]["found"] == FILES
        assert client.get("/v1/galleries/many").json()["items"] == FILES


def test_ctrl_c_puts_the_job_in_hand_back(
    home: Path, tmp_path: Path, paint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_MODEL", "hashing")
    for i in range(FILES):
        paint(tmp_path / "many" / f"{i:04d}.png", (i % 256, i // 256, 7))
    transport = httpx.HTTPTransport(retries=50)
    with serving("--no-demo") as (process, address), httpx.Client(base_url=address, transport=transport) as client:
        client.post("/v1/jobs", json={"kind": "index", "gallery": "many", "folder": str(tmp_path / "many")})
        watch(client, lambda job: job["report"].get("added", 0) > 0)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert "Traceback" not in complaints
    library = Hosted(settings=Settings())
    (job,) = library.jobs()
    library.close()
    assert (job.state, job.report["added"] > 0) == ("waiting", True)


def test_a_second_ctrl_c_does_not_wait_for_a_job(home: Path, photos: Path) -> None:
    endless = "import time; from api.hosted import Hosted; Hosted.do = lambda *_: time.sleep(600)"
    with serving("--no-demo", before=endless) as (process, address):
        transport = httpx.HTTPTransport(retries=50)
        with httpx.Client(base_url=address, transport=transport) as client:
            client.post("/v1/jobs", json={"kind": "index", "gallery": "photos", "folder": str(photos)})
            watch(client, lambda job: job["state"] == "running")
        process.send_signal(signal.SIGINT)
        sleep(0.5)  # two signals at once are one
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=CLOSING_SECONDS / 2)
    assert "Traceback" not in complaints
    library = Hosted(settings=Settings())
    assert [job.state for job in library.jobs()] == ["waiting"]
    library.close()


@pytest.mark.stress
def test_an_empty_home_opens_on_a_ready_gallery(home: Path) -> None:
    transport = httpx.HTTPTransport(retries=50)
    with (
        serving() as (process, address),
        httpx.Client(base_url=address, transport=transport, timeout=60) as client,
    ):
        assert process.stdout is not None
        assert "making the gallery demo" in process.stdout.readline()
        job = watch(client, lambda job: job["state"] not in ("waiting", "running"))
        assert (job["kind"], job["gallery"], job["state"], job["error"]) == ("demo", "demo", "done", None)
        shown = client.get("/v1/galleries/demo").json()
        assert shown["items"] == FIRST_SCENES
        page = client.get("/v1/galleries/demo/search", params={"text": shown["examples"][0]}).json()
        assert page["hits"][0]["uri"].endswith("postcard-0001.png")


@pytest.mark.stress
def test_thousands_of_mixed_requests_get_right_answers(cards_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_HOME", str(cards_home))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    library = Sightline(settings=Settings())
    asked = mixed_requests(cards_home, library)
    library.close()
    draw = random.Random(1)
    plan = [draw.choices(asked, weights=[weight for *_, weight in asked])[0] for _ in range(REQUESTS)]
    transport = httpx.HTTPTransport(retries=50)
    with serving() as (_, address), httpx.Client(base_url=address, transport=transport, timeout=120) as client:
        client.get("/readyz")

        def ask(one: Any) -> tuple[int, Any]:
            request, expected, _ = one
            answer = client.request(**request)
            return answer.status_code, wrong(answer, expected)

        with ThreadPoolExecutor(24) as threads:
            outcomes = list(threads.map(ask, plan))
        assert client.get("/readyz").status_code == 200
    assert [found for status, found in outcomes if found and status != 429] == []
    assert max(status for status, _ in outcomes) < 500
    assert sum(status == 429 for status, _ in outcomes) < REQUESTS / 2


def mixed_requests(home: Path, library: Sightline) -> list[tuple[dict[str, Any], Any, int]]:
    """Requests, what each should give (ids, a status, or text), and how often it is sent."""
    picture = (home.parent / "cards" / "postcard-0002.png").read_bytes()
    search, lookup = "/v1/galleries/cards/search", "/v1/galleries/cards/lookup"
    requests: list[tuple[dict[str, Any], Any, int]] = []
    with (home.parent / "cards" / "captions.jsonl").open() as lines:
        texts = [json.loads(line)["texts"][0] for line in lines]
    for i, text in enumerate(texts):
        for rerank, weight in ((False, 20), (True, 1)):
            hits = [hit.id for hit in library.search("cards", text, k=1 + i % 9, rerank=rerank)]
            parameters = {"text": text, "k": 1 + i % 9, "rerank": rerank}
            requests.append(({"method": "GET", "url": search, "params": parameters}, hits, weight))
    found = [hit.id for hit in library.lookup(home.parent / "cards" / "postcard-0002.png", "cards")]
    requests += [
        ({"method": "POST", "url": lookup, "files": {"image": ("x.png", picture)}}, found, 5),
        ({"method": "POST", "url": "/v1/items/1/ask"}, library.ask(1).text, 2),
        ({"method": "GET", "url": "/v1/items/2/image"}, picture, 20),
        ({"method": "GET", "url": "/v1/items/2/thumbnail"}, 200, 20),
        ({"method": "GET", "url": "/v1/galleries"}, 200, 20),
        ({"method": "GET", "url": search, "params": {"text": ""}}, 422, 20),
        ({"method": "GET", "url": search, "params": {"text": "x", "k": 0}}, 422, 20),
        ({"method": "GET", "url": "/v1/galleries/nowhere/search?text=x&rerank=false"}, 404, 20),
        ({"method": "GET", "url": "/v1/items/0/image"}, 404, 20),
        ({"method": "POST", "url": search, "content": b"x", "headers": {"content-type": "image/png"}}, 422, 5),
        ({"method": "DELETE", "url": search}, 405, 20),
        ({"method": "GET", "url": "/healthz"}, 200, 20),
    ]
    return requests


def wrong(answer: httpx.Response, expected: Any) -> str | None:
    """Say how an answer differs from what is expected."""
    match expected:
        case int():
            given: Any = answer.status_code
        case bytes():
            given = answer.content
        case str():
            given = answer.json().get("text")
        case _:
            given = [hit["id"] for hit in answer.json().get("hits", [])]
    return None if given == expected else f"{answer.request.url}: {answer.status_code} {answer.text[:200]}"
