"""Lookup: a picture becomes the texts that describe it."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from api.deps import MOST_CHARACTERS, Candidates, K, Matcher, Name, Rerank, as_response, service_of
from api.problems import documented
from api.schemas import PageOut
from api.uploads import MOST_TEXTS, body_schema, check_texts, read_upload

router = APIRouter(tags=["search"])

TEXTS = {
    "type": "array",
    "items": {"type": "string", "maxLength": MOST_CHARACTERS},
    "maxItems": MOST_TEXTS,
    "description": "the texts to choose from; those of the gallery when there are none",
}


@router.post(
    "/v1/galleries/{name}/lookup",
    response_model=PageOut,
    responses=documented(404, 409, 413, 422, 429, 503),
    openapi_extra=body_schema(texts=TEXTS),
)
async def lookup(
    request: Request,
    name: Name,
    k: K = 10,
    candidates: Candidates = None,
    rerank: Rerank = True,
    matcher: Matcher = None,
) -> Response:
    """Find the texts that describe a picture best: those of the gallery, or the given ones."""
    service = service_of(request)
    service.reranks.check()
    upload = await read_upload(request, fields=("texts",))
    texts = upload.texts.get("texts", []) or None
    check_texts(texts or [], "texts")
    door = service.sightline.lookup_gallery
    job = partial(door, name, upload.image, texts=texts, k=k, candidates=candidates, rerank=rerank, matcher=matcher)
    return as_response(PageOut.of(await service.rerank(request, job)))
