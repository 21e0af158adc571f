"""SIGKILL of the service at random moments: its job goes on by itself and ends with every file exactly once."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from api import Sightline
from indexer.uri import to_uri
from storage import items

pytestmark = pytest.mark.stress

COMMAND = (sys.executable, "-c", "from api.cli import main; main()", "serve", "--no-demo", "--port", "0")
FILES = 6000
KILLS = 8


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            transport = httpx.HTTPTransport(retries=50)
            with httpx.Client(base_url=found[0], transport=transport, timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def found(client: httpx.Client) -> int:
    """How many pictures the gallery shows."""
    answer = client.get("/v1/galleries/photos")
    return int(answer.json()["items"]) if answer.status_code == 200 else 0


def ended(client: httpx.Client, job_id: int) -> dict[str, Any]:
    deadline = monotonic() + 600
    while True:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] not in ("waiting", "running"):
            return job
        assert monotonic() < deadline, job
        sleep(0.2)


@pytest.mark.timeout(1800)
def test_a_job_survives_any_number_of_kills(
    sightline: Sightline, tmp_path: Path, paint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_MODEL", "hashing")
    random, folder = Random(5), tmp_path / "photos"
    for i in range(FILES):
        paint(folder / f"{i:04d}.png", (i % 256, i // 256, 77))
    with serving() as (_, client):
        body = {"kind": "index", "gallery": "photos", "folder": str(folder)}
        job_id = client.post("/v1/jobs", json=body).json()["id"]
    seen = 0
    for _ in range(KILLS):
        with serving() as (process, client):
            deadline = monotonic() + 60
            while found(client) <= seen and client.get(f"/v1/jobs/{job_id}").json()["state"] != "done":
                assert monotonic() < deadline
            seen = found(client)
            sleep(random.uniform(0, 0.1))
            process.kill()
    with serving() as (_, client):
        job = ended(client, job_id)
        assert (job["state"], job["error"], job["report"]["found"]) == ("done", None, FILES)
        assert found(client) == FILES
    gallery = sightline.gallery("photos")
    with sightline.wiring.database.reading() as session:
        living = items.living(session, gallery.id, "image", to_uri(folder))
    assert Counter(one.uri for one in living) == Counter(to_uri(path) for path in folder.iterdir())
    assert {one.state for one in living} == {"embedded"}
