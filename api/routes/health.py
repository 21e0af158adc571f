"""Health: whether the process lives, and whether it can answer."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.deps import service_of
from api.errors import DOMAIN
from api.problems import documented, problem
from api.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> Health:
    """Say that the process lives."""
    return Health(status="alive")


@router.get("/readyz", response_model=Health, responses=documented(503))
async def ready(request: Request) -> Health | Response:
    """Say whether the database can be reached and is at the right schema."""
    try:
        await service_of(request).check()
    except DOMAIN as error:
        return problem(503, str(error))
    except Exception as error:
        return problem(503, f"the database cannot be read: {type(error).__name__}")
    return Health(status="ready")
