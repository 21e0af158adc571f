"""The description of the interface; SIGHTLINE_TEST_WRITE=1 in the environment of these tests stores it anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from fastapi.testclient import TestClient

STORED = Path(__file__).parent / "openapi.json"
ADDRESSES = {
    "/v1/galleries": {"get"},
    "/v1/galleries/{name}": {"get", "delete"},
    "/v1/galleries/{name}/items": {"get"},
    "/v1/galleries/{name}/failed": {"get"},
    "/v1/galleries/{name}/pictures": {"post"},
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/{id}": {"get"},
    "/v1/jobs/{id}/cancel": {"post"},
    "/v1/jobs/{id}/continue": {"post"},
    "/v1/models": {"get"},
    "/v1/pictures": {"post"},
    "/v1/pictures/{picture}": {"get"},
    "/v1/galleries/{name}/search": {"get", "post"},
    "/v1/galleries/{name}/evaluations": {"get"},
    "/v1/galleries/{name}/search/events": {"get"},
    "/v1/galleries/{name}/lookup": {"post"},
    "/v1/embed": {"post"},
    "/v1/items/{id}": {"get"},
    "/v1/items/{id}/image": {"get"},
    "/v1/items/{id}/thumbnail": {"get"},
    "/v1/items/{id}/texts": {"get"},
    "/v1/items/{id}/ask": {"post"},
    "/healthz": {"get"},
    "/readyz": {"get"},
}


def test_the_document_is_the_stored_one(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    if os.environ.get("SIGHTLINE_TEST_WRITE"):
        STORED.write_text(json.dumps(document, indent=2) + "\n")
    assert document == json.loads(STORED.read_text())


def test_every_address_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert {path: set(operations) for path, operations in document["paths"].items()} == ADDRESSES
    for operations in document["paths"].values():
        for operation in operations.values():
            errors = {status: set(one["content"]) for status, one in operation["responses"].items() if status >= "400"}
            assert set().union(*errors.values()) <= {"application/problem+json"}


def test_the_page_shows_every_address_and_loads_nothing(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert all(path in answer.text for path in ADDRESSES)
    assert not re.findall(r"https?:|<script|<link|<img|src=|url\(", answer.text)
