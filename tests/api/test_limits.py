"""The largest body: 413 before it is read, over a real connection."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]
Listen = Callable[[Any], AbstractContextManager[int]]
MEGABYTES = 1 << 20
SEARCH = "/v1/galleries/photos/search"


@pytest.fixture
def port(gallery: str, settings: Settings, listen: Listen) -> Iterator[int]:
    with listen(create_app(settings)) as port:
        yield port


def request_head(*headers: str) -> bytes:
    lines = (f"POST {SEARCH} HTTP/1.1", "Host: x", "Content-Type: image/png", *headers, "", "")
    return "\r\n".join(lines).encode()


def read_answer(wire: socket.socket) -> tuple[bytes, dict[str, Any]]:
    received = b""
    while chunk := wire.recv(65536):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return head, json.loads(body)


def test_a_body_that_says_it_is_too_large_is_refused_unread(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(request_head(f"Content-Length: {100 * MEGABYTES}"))
        head, body = read_answer(wire)  # not one byte of the body was sent, and the connection is closed
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in head
    assert body["field"] == "image"
    assert "at most 20 MB" in body["detail"]


def test_a_body_that_grows_too_large_is_refused_on_the_way(port: int) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(request_head("Transfer-Encoding: chunked"))
        while sent < 100 * MEGABYTES and not select.select([wire], [], [], 0)[0]:
            try:
                wire.sendall(chunk)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += 65536
        head = wire.recv(65536)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert 20 * MEGABYTES <= sent < 60 * MEGABYTES  # the limit, and what the operating system held meanwhile


@pytest.mark.parametrize("how", ["form", "body", "stream"])
def test_a_client_that_uploads_100_mb_hears_why_not(port: int, problem: IsProblem, how: str) -> None:
    large = b"x" * (100 * MEGABYTES)
    sent: dict[str, Any] = {"content": large, "headers": {"content-type": "image/png"}}
    if how == "form":
        sent = {"files": {"image": ("x.png", large)}}
    if how == "stream":
        sent["content"] = (large[i : i + MEGABYTES] for i in range(0, len(large), MEGABYTES))
    assert problem(httpx.post(f"http://127.0.0.1:{port}{SEARCH}", timeout=60, **sent), 413, "image")


def test_the_field_of_a_large_question_is_the_body(client: TestClient, problem: IsProblem) -> None:
    large = b'{"question": "' + b"x" * (21 * MEGABYTES) + b'"}'
    answer = client.post("/v1/items/1/ask", content=large, headers={"content-type": "application/json"})
    assert problem(answer, 413, "body")


def test_a_body_of_the_limit_is_read(gallery: str, settings: Settings, problem: IsProblem) -> None:
    with TestClient(create_app(settings.model_copy(update={"upload_bytes": 100}))) as client:
        for size, status in ((100, 422), (101, 413)):
            whole = client.post(SEARCH, content=b"x" * size, headers={"content-type": "image/png"})
            parts = client.post(SEARCH, content=iter([b"x"] * size), headers={"content-type": "image/png"})
            assert problem(whole, status, "image")
            assert problem(parts, status, "image")
