"""Pictures to search by: sent once, kept for a while, named by their digest."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.deps import as_response, service_of
from api.media import PICTURE, media_type, picture_headers
from api.problems import documented
from api.schemas import PictureOut
from api.uploads import body_schema, read_upload

router = APIRouter(tags=["search"])

Digest = Annotated[
    str, Path(alias="picture", pattern="^[0-9a-f]{64}$", description="the SHA-256 that sending the picture gave")
]


@router.post(
    "/v1/pictures",
    status_code=201,
    response_model=PictureOut,
    responses=documented(413, 422, 429, 503, 507),
    openapi_extra=body_schema(),
)
async def send_picture(request: Request) -> Response:
    """Keep a picture to search by, for a while."""
    service = service_of(request)
    service.uploads.check()
    upload = await read_upload(request)
    digest, (width, height) = await service.keep(request, partial(service.sightline.keep_picture, upload.image))
    return as_response(PictureOut(picture=digest, width=width, height=height), status=201)


@router.get("/v1/pictures/{picture}", response_class=Response, responses=PICTURE | documented(410, 422, 429, 503))
async def sent_picture(request: Request, digest: Digest) -> Response:
    """Give a picture that was sent to search by."""
    service = service_of(request)
    content = await service.read(request, partial(service.sightline.query_picture, digest))
    headers = picture_headers(digest)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type(content))
