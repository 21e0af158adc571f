"""Models: those that are here, for the choice of a new gallery's."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.deps import service_of
from api.problems import documented
from api.schemas import ModelOut
from retrieval.models.checkpoints import Role

router = APIRouter(tags=["models"])

RoleWanted = Annotated[Role, Query(description="what the models can do")]


@router.get("/v1/models", responses=documented(422, 429, 503))
async def models(request: Request, role: RoleWanted = "encoder") -> list[ModelOut]:
    """List the models that can do something without a download."""
    service = service_of(request)
    return [ModelOut.of(row) for row in await service.read(request, partial(service.sightline.models_at_hand, role))]
