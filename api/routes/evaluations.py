"""Evaluations: what was measured of a gallery."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request

from api.deps import Name, service_of
from api.problems import documented
from api.schemas import EvaluatedOut

router = APIRouter(tags=["galleries"])


@router.get("/v1/galleries/{name}/evaluations", responses=documented(404, 422, 429, 503))
async def evaluations(request: Request, name: Name) -> list[EvaluatedOut]:
    """List what was measured of a gallery, the newest first. POST /v1/jobs measures anew."""
    service = service_of(request)
    return [EvaluatedOut.of(one) for one in await service.read(request, partial(service.sightline.evaluations, name))]
