"""Other web sites cannot use a visitor's browser against a service on the visitor's machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]
JOB = {"kind": "index", "gallery": "photos"}
OWN = "http://localhost:8000"


def client_of(settings: Settings, address: str = OWN, **changes: Any) -> TestClient:
    return TestClient(create_app(settings.model_copy(update=changes)), base_url=address)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": "http://[x"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": OWN},
    ],
)
def test_another_sites_page_changes_nothing(
    gallery: str, settings: Settings, problem: IsProblem, headers: dict[str, str]
) -> None:
    with client_of(settings) as client:
        assert problem(client.post("/v1/jobs", json=JOB, headers=headers), 403, None)
        assert problem(client.delete("/v1/galleries/photos", headers=headers), 403, None)
        assert client.get("/v1/galleries", headers=headers).status_code == 200  # and the browser hides the answer


@pytest.mark.parametrize(
    "headers", [{}, {"origin": OWN}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}]
)
def test_the_services_own_page_and_programs_may(gallery: str, settings: Settings, headers: dict[str, str]) -> None:
    with client_of(settings) as client:
        assert client.post("/v1/jobs", json=JOB, headers=headers).status_code == 202


def test_a_name_that_somebody_points_here_is_refused(settings: Settings, problem: IsProblem) -> None:
    with client_of(settings, "http://evil.example:8000") as client:
        assert problem(client.get("/v1/galleries"), 403, None)
        assert "SIGHTLINE_HOSTS" in client.get("/v1/galleries").json()["detail"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "[::1]:8000", "localhost", "app.localhost:80", "192.168.1.5", "box"]
)
def test_addresses_and_bare_names_are_the_services_own(settings: Settings, host: str) -> None:
    with client_of(settings) as client:
        assert client.get("/v1/galleries", headers={"host": host}).status_code == 200


def test_a_proxys_name_can_be_set(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_HOSTS", "Photos.example, other.example")
    with client_of(Settings(), "https://photos.example") as client:
        assert client.get("/v1/galleries").status_code == 200


def test_a_service_for_others_has_any_name(settings: Settings) -> None:
    with client_of(settings, "http://photos.example", host="0.0.0.0") as client:
        assert client.get("/v1/galleries").status_code == 200
