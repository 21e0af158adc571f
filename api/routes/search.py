"""Search: a text, a picture or both become hits."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from api.deps import (
    Candidates,
    K,
    Matcher,
    MoreText,
    Name,
    Pooled,
    Rerank,
    Text,
    TextQuery,
    as_response,
    service_of,
)
from api.doors.ranking import Ranking
from api.problems import documented
from api.schemas import PageOut
from api.uploads import body_schema, read_upload

router = APIRouter(tags=["search"])


@router.get("/v1/galleries/{name}/search", response_model=PageOut, responses=documented(404, 409, 422, 429, 503))
async def search(
    request: Request,
    name: Name,
    text: Text,
    k: K = 10,
    candidates: Candidates = None,
    rerank: Rerank = True,
    matcher: Matcher = None,
    pooled: Pooled = None,
) -> Response:
    """Find pictures by a text."""
    service = service_of(request)
    ranking = Ranking(k, candidates, rerank, matcher, pooled)
    if rerank:
        page = await service.rerank(request, partial(service.sightline.search_gallery, name, text, **vars(ranking)))
    else:
        page = await service.search(request, TextQuery(name, text, ranking))
    return as_response(PageOut.of(page))


@router.post(
    "/v1/galleries/{name}/search",
    response_model=PageOut,
    responses=documented(404, 409, 413, 422, 429, 503),
    openapi_extra=body_schema(),
)
async def search_by_picture(
    request: Request,
    name: Name,
    text: MoreText = None,
    k: K = 10,
    candidates: Candidates = None,
    rerank: Rerank = True,
    matcher: Matcher = None,
    pooled: Pooled = None,
) -> Response:
    """Find pictures by a picture, or by a picture and a text together. Only a text can rerank."""
    service = service_of(request)
    ranking = Ranking(k, candidates, rerank, matcher, pooled)
    service.reranks.check()
    upload = await read_upload(request)
    door = service.sightline.search_gallery
    job = partial(door, name, text, image=upload.image, **vars(ranking))
    return as_response(PageOut.of(await service.rerank(request, job)))
