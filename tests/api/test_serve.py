"""`sightline serve` as a process of its own."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import Sightline
from api.schemas import PageOut
from api.settings import Settings

COMMAND = (sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", "0")
REQUESTS = 4000


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
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
