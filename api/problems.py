"""Errors as they travel over HTTP: one shape for all of them, `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.errors import DOMAIN, Overloaded, status_of
from api.schemas import Problem

MEDIA_TYPE = "application/problem+json"
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""RFC 9110's words, where some versions of Python still have older ones."""
CLIENT_GONE = 499
"""What logs show of a request that nobody waits for any more; it is never received."""


def problem(status: int, detail: str, field: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Make the response of an error."""
    body = Problem(title=_title(status), status=status, detail=detail, field=field)
    return Response(body.model_dump_json(), status, headers, MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Say a domain error as a problem."""
    status, field = status_of(error)
    return Problem(title=_title(status), status=status, detail=str(error), field=field)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe in the OpenAPI document which errors a route answers with."""
    return {status: {"model": Problem, "description": _title(status)} for status in statuses}


def add_handlers(app: FastAPI) -> None:
    """Turn every error into a problem."""
    for kind in DOMAIN:
        app.add_exception_handler(kind, _of_domain)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(ClientDisconnect, _of_nobody)
    app.add_exception_handler(Exception, _of_defect)


def name_media_type(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document that problems are `application/problem+json`."""
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}


async def _of_domain(_request: Request, error: Exception) -> Response:
    status, field = status_of(error)
    return problem(status, str(error), field, {"Retry-After": "1"} if isinstance(error, Overloaded) else None)


async def _of_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    return problem(422, "; ".join(map(_sentence, faults)), _field(faults[0]))


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, field = error.detail, getattr(error, "field", None)
    if error.status_code == 404:
        detail = f"there is nothing at {request.url.path}; /docs describes what there is"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        detail = f"{request.url.path} does not take {request.method}; it takes {allowed}"
    if error.status_code == 400:
        field = "body"
    return problem(error.status_code, detail, field, error.headers)


async def _of_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _of_defect(_request: Request, _error: Exception) -> Response:
    return problem(500, "a defect of the service, not of the request; its log says more")


def _title(status: int) -> str:
    return TITLES.get(status, HTTPStatus(status).phrase)


def _sentence(fault: Any) -> str:
    """Say what is wrong with one field, with the value where it is short."""
    match fault["type"]:
        case "json_invalid":
            return "body: this is not JSON"
        case "union_tag_not_found" | "union_tag_invalid":
            key, known = fault["ctx"]["discriminator"].strip("'"), fault["ctx"].get("expected_tags")
            return f"{key}: must be one of {known}" if known else f"{key}: missing; it says what the body is"
        case "blank" | "surrogate" | "missing":
            message = str(fault["msg"])
        case _:
            given = fault.get("input")
            is_short = isinstance(given, (str, int, float)) and len(str(given)) <= 60
            message = str(fault["msg"]) + (f", not {given!r}" if is_short else "")
    return f"{_field(fault)}: {message[:1].lower()}{message[1:]}"


def _field(fault: Any) -> str:
    """Name the part of the request: a parameter or a key of the body; `body` where that cannot be read at all."""
    if fault["type"].startswith("union_tag"):
        return str(fault["ctx"]["discriminator"]).strip("'")
    place = [part for part in fault["loc"] if isinstance(part, str)]
    return place[-1]
