"""Galleries: which there are, what each holds, what is sent to it, and its end."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.deps import Name, as_response, service_of
from api.problems import documented
from api.schemas import FailedOut, GalleryDetailOut, GalleryOut, ItemRowOut, ItemsOut, UploadedOut
from api.uploads import files_schema, read_files
from storage.items import LARGEST_ID

router = APIRouter(tags=["galleries"])

MOST_ITEMS = 1000

After = Annotated[int, Query(ge=0, le=LARGEST_ID, description="an item's id: those behind it")]
Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="how many items")]


@router.get("/v1/galleries", responses=documented(429, 503))
async def galleries(request: Request) -> list[GalleryOut]:
    """List all galleries by name."""
    service = service_of(request)
    return [GalleryOut.of(summary) for summary in await service.read(request, service.sightline.galleries)]


@router.get("/v1/galleries/{name}", response_model=GalleryDetailOut, responses=documented(404, 429, 503))
async def gallery(request: Request, name: Name) -> Response:
    """Tell what there is to know of a gallery before it is searched."""
    service = service_of(request)
    return as_response(GalleryDetailOut.of_detail(await service.read(request, partial(service.sightline.detail, name))))


@router.delete("/v1/galleries/{name}", status_code=204, responses=documented(404, 409, 429, 503))
async def delete_gallery(request: Request, name: Name) -> Response:
    """Forget a gallery, with the pictures that were uploaded into it; those of a server folder stay."""
    service = service_of(request)
    await service.read(request, partial(service.sightline.remove, name))
    return Response(status_code=204)


@router.get("/v1/galleries/{name}/items", response_model=ItemsOut, responses=documented(404, 422, 429, 503))
async def gallery_items(request: Request, name: Name, after: After = 0, limit: Limit = 100) -> Response:
    """List the pictures of a gallery by id, some at a time."""
    service = service_of(request)
    found, following = await service.read(
        request, partial(service.sightline.page_of_items, name, after=after, limit=limit)
    )
    return as_response(ItemsOut(items=[ItemRowOut.of(item) for item in found], next=following))


@router.get("/v1/galleries/{name}/failed", responses=documented(404, 429, 503))
async def failed_files(request: Request, name: Name) -> list[FailedOut]:
    """List the files of a gallery that could not be read, with reasons."""
    service = service_of(request)
    return [FailedOut.of(item) for item in await service.read(request, partial(service.sightline.failed, name))]


@router.post(
    "/v1/galleries/{name}/pictures",
    status_code=201,
    response_model=UploadedOut,
    responses=documented(413, 422, 429, 503, 507),
    openapi_extra=files_schema(),
)
async def upload_pictures(request: Request, name: Name) -> Response:
    """Keep pictures for a gallery, which need not be there yet: a job without a folder indexes them."""
    service = service_of(request)
    service.uploads.check()
    files = await read_files(request)
    uploaded = await service.keep(request, partial(service.sightline.upload, name, files))
    return as_response(UploadedOut.of(uploaded), status=201)
