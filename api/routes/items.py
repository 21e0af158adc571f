"""Items: what is known of one, its picture, and questions about it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import ItemId, K, Words, as_response, service_of
from api.files import OpenFile
from api.media import HEAD_BYTES, PICTURE, disposition, media_type, picture_headers
from api.problems import documented
from api.schemas import AnswerOut, ItemOut, PageOut
from indexer.decode import THUMBNAIL_TYPE
from indexer.uri import from_uri
from storage.items import Item

router = APIRouter(tags=["items"])


class AskIn(BaseModel):
    """A question about a picture; without one it is described."""

    model_config = ConfigDict(extra="forbid")

    question: Words | None = Field(None, examples=["what is left of the car ?"])


@router.get("/v1/items/{id}", response_model=ItemOut, responses=documented(404, 422, 429, 503))
async def item(request: Request, item_id: ItemId) -> Response:
    """Show what is known of an item."""
    service = service_of(request)
    return as_response(ItemOut.of(await service.read(request, partial(service.sightline.describe_item, item_id))))


@router.get("/v1/items/{id}/image", response_class=Response, responses=PICTURE | documented(404, 410, 422, 429, 503))
async def image(request: Request, item_id: ItemId) -> Response:
    """Give the original file of a picture, as it was when it was indexed."""
    service = service_of(request)
    known = request.headers.get("if-none-match", "")
    return await service.read(request, lambda: _original(*service.sightline.original(item_id), known))


@router.get(
    "/v1/items/{id}/thumbnail", response_class=Response, responses=PICTURE | documented(404, 410, 422, 429, 503)
)
async def thumbnail(request: Request, item_id: ItemId) -> Response:
    """Give a small JPEG of a picture."""
    service = service_of(request)
    found, content = await service.read(request, partial(service.sightline.thumbnail, item_id))
    headers = picture_headers(found.content_hash)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=THUMBNAIL_TYPE)


@router.post("/v1/items/{id}/ask", response_model=AnswerOut, responses=documented(404, 409, 410, 413, 422, 429, 503))
async def ask(request: Request, item_id: ItemId, body: Annotated[AskIn | None, Body()] = None) -> Response:
    """Answer a question about a picture, or describe it when there is no question."""
    service = service_of(request)
    question = body.question if body else None
    answer = await service.rerank(request, partial(service.sightline.ask, item_id, question))
    return as_response(AnswerOut.of(answer))


@router.get("/v1/items/{id}/texts", response_model=PageOut, responses=documented(404, 409, 410, 422, 429, 503))
async def texts(request: Request, item_id: ItemId, k: K = 5) -> Response:
    """Find the texts of its gallery that describe a picture best."""
    service = service_of(request)
    return as_response(PageOut.of(await service.rerank(request, partial(service.sightline.texts_of, item_id, k=k))))


def _original(item: Item, file: BinaryIO, known: str) -> Response:
    """Shape a file into a response."""
    headers = picture_headers(item.content_hash)
    if headers["ETag"] in known:
        file.close()
        return Response(status_code=304, headers=headers)
    kind = media_type(file.read(HEAD_BYTES))
    file.seek(0)
    name = from_uri(item.uri).name
    return OpenFile(file, headers | {"Content-Length": str(item.size), "Content-Disposition": disposition(name)}, kind)
