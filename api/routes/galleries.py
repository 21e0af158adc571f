"""The galleries that can be searched."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api.deps import service_of
from api.problems import documented
from api.schemas import GalleryOut

router = APIRouter(tags=["galleries"])


@router.get("/v1/galleries", responses=documented(429, 503))
async def galleries(request: Request) -> list[GalleryOut]:
    """List all galleries by name."""
    service = service_of(request)
    return [GalleryOut.of(summary) for summary in await service.read(request, service.sightline.galleries)]
