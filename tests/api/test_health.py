"""Health, and what has no address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import Sightline
from api.app import create_app
from api.settings import Settings

IsProblem = Callable[[Any, int, str | None], bool]


def test_a_service_lives_and_is_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_database_of_another_schema_is_not_ready(
    client: TestClient, problem: IsProblem, sightline: Sightline
) -> None:
    with sightline.wiring.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    answer = client.get("/readyz")
    assert problem(answer, 503, None)
    assert "schema 0000" in answer.json()["detail"]
    assert client.get("/healthz").status_code == 200


def test_a_database_that_cannot_be_reached_is_not_ready(settings: Settings, problem: IsProblem) -> None:
    settings.home.parent.joinpath("home").write_bytes(b"a file where a folder should be")
    with TestClient(create_app(settings)) as client:
        assert client.get("/healthz").status_code == 200
        assert problem(client.get("/readyz"), 503, None)


def test_a_service_that_shuts_down_is_not_ready(settings: Settings, problem: IsProblem) -> None:
    assert problem(asyncio.run(readiness_after_the_end(create_app(settings))), 503, None)


async def readiness_after_the_end(app: FastAPI) -> httpx.Response:
    async with app.router.lifespan_context(app):
        pass
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        search = await client.get("/v1/galleries/photos/search?text=x")
        assert search.status_code == 503
        return await client.get("/readyz")


def test_unknown_addresses_and_methods_are_problems(client: TestClient, problem: IsProblem) -> None:
    for address in ("/nowhere", "/v1/items", "/v1/galleries/photos/nothing", "/redoc"):
        assert problem(client.get(address), 404, None)
    refused = client.put("/v1/galleries")
    assert problem(refused, 405, None)
    assert refused.headers["allow"] == "GET"


def test_a_defect_is_a_problem_too(client: TestClient, problem: IsProblem) -> None:
    client.app.state.service.sightline.galleries = lambda: 1 / 0  # type: ignore[attr-defined]
    assert problem(client.get("/v1/galleries"), 500, None)
