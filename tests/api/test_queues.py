"""Queries are answered together, and a full queue says so."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from api import Sightline
from api.queues import Queue
from api.schemas import PageOut

Hold = Callable[..., AbstractContextManager[Any]]
IsProblem = Callable[[Any, int, str | None], bool]
SEARCH = "/v1/galleries/photos/search"
FIRST_STAGE = f"{SEARCH}?rerank=false&text="


@contextmanager
def holding(held: Any, path: str) -> Iterator[None]:
    """Keep the worker of a path busy."""
    answer = held.start(f"{path}hold")
    assert held.encoder.holds.wait(60)
    yield
    held.encoder.may_go.set()
    assert answer().status_code == 200


def until(is_true: Callable[[], bool]) -> None:
    for _ in range(6000):
        if is_true():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_queries_that_wait_are_answered_in_one_pass_as_if_alone(hold: Hold, sightline: Sightline, photos: Path) -> None:
    sightline.index(photos, gallery="twin", model="hashing")
    asked = [(name, f"word {i}", 1 + i % 5) for i in range(12) for name in ("photos", "twin")]
    with hold() as held:
        with holding(held, FIRST_STAGE):
            held.encoder.read.clear()
            answers = [
                held.start(f"/v1/galleries/{name}/search?text={text}&k={k}&rerank=false") for name, text, k in asked
            ]
            until(lambda: held.service.searches.waiting() == len(asked))
        pages = [answer().json() for answer in answers]
    alone = [PageOut.of(sightline.search(name, text, k=k, rerank=False)) for name, text, k in asked]
    assert pages == [page.model_dump() for page in alone]
    assert [len(texts) for texts in held.encoder.read if len(texts) > 1] == [12, 12]


def test_an_unknown_gallery_in_a_pass_spoils_no_other_query(hold: Hold, problem: IsProblem) -> None:
    with hold() as held:
        with holding(held, FIRST_STAGE):
            good = held.start(f"{FIRST_STAGE}red")
            bad = held.start("/v1/galleries/nowhere/search?text=red&rerank=false")
            until(lambda: held.service.searches.waiting() == 2)
        assert len(good().json()["hits"]) == 5
        assert problem(bad(), 404, "name")


@pytest.mark.parametrize(("path", "limit"), [(FIRST_STAGE, "search_queue"), (f"{SEARCH}?text=", "rerank_queue")])
def test_a_full_queue_is_429_and_what_waits_is_answered(hold: Hold, problem: IsProblem, path: str, limit: str) -> None:
    with hold(**{limit: 2}) as held:
        with holding(held, path):
            waiting = [held.start(f"{path}red"), held.start(f"{path}blue")]
            queue = held.service.searches if limit == "search_queue" else held.service.reranks
            until(lambda: queue.waiting() == 2)
            refused = held.client.get(f"{path}green")
            assert problem(refused, 429, None)
            assert refused.headers["retry-after"] == "1"
        assert [answer().status_code for answer in waiting] == [200, 200]
        assert held.client.get(f"{path}green").status_code == 200


def test_a_picture_is_not_read_while_the_queue_is_full(hold: Hold, problem: IsProblem) -> None:
    with hold(rerank_queue=1) as held, holding(held, f"{SEARCH}?text="):
        waiting = held.start(f"{SEARCH}?text=red")
        until(lambda: held.service.reranks.waiting() == 1)
        for verb in ("search", "lookup"):
            answer = held.client.post(f"/v1/galleries/photos/{verb}", content=b"x", headers={"content-type": "x/y"})
            assert problem(answer, 429, None)
        held.encoder.may_go.set()
        assert waiting().status_code == 200


def test_the_event_loop_answers_while_a_model_runs(hold: Hold) -> None:
    with hold() as held, holding(held, FIRST_STAGE):
        assert held.client.get("/healthz").status_code == 200
        assert held.client.get("/readyz").status_code == 200
        assert held.client.get("/v1/galleries").status_code == 200


@pytest.mark.parametrize(("slow", "quick"), [(FIRST_STAGE, f"{SEARCH}?text="), (f"{SEARCH}?text=", FIRST_STAGE)])
def test_the_two_workers_do_not_wait_for_each_other(hold: Hold, slow: str, quick: str) -> None:
    with hold() as held, holding(held, slow):
        assert len(held.client.get(f"{quick}red").json()["hits"]) == 5


@pytest.mark.parametrize(("path", "queue"), [(FIRST_STAGE, "searches"), (f"{SEARCH}?text=", "reranks")])
def test_the_work_of_a_client_that_went_away_is_dropped(hold: Hold, path: str, queue: str) -> None:
    with hold(over_a_wire=True) as held:
        line: Queue[Any, Any] = getattr(held.service, queue)
        with holding(held, path):
            with socket.create_connection(("127.0.0.1", held.client.base_url.port)) as wire:
                wire.sendall(f"GET {path}unwanted HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                until(lambda: line.waiting() == 1)
            until(lambda: line.waiting() == 0)
        assert all("unwanted" not in texts for texts in held.encoder.read)


def test_what_waits_at_the_end_is_told_so(hold: Hold) -> None:
    with hold() as held:
        begun = held.start(f"{FIRST_STAGE}hold")
        assert held.encoder.holds.wait(60)
        waiting = held.start(f"{FIRST_STAGE}red")
        until(lambda: held.service.searches.waiting() == 1)
        held.client.portal.call(held.service.searches.close)
        assert waiting().status_code == 503
        held.encoder.may_go.set()
        assert begun().status_code == 200
        assert held.client.get(f"{FIRST_STAGE}red").status_code == 503
