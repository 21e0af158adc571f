"""Search: a text, a picture or both become hits, in one answer or step by step."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from api.deps import (
    Candidates,
    K,
    Like,
    Matcher,
    MinMatch,
    Name,
    Pooled,
    Rerank,
    SentPicture,
    TargetPrecision,
    Text,
    TextQuery,
    as_response,
    service_of,
)
from api.doors.ranking import Asked, Ranking
from api.problems import documented
from api.schemas import PageOut
from api.steps import EVENT_STREAM, EVENTS, UNBUFFERED, Steps, events_of
from api.uploads import body_schema, read_upload

router = APIRouter(tags=["search"])


def ranking_of(
    k: K = 10,
    candidates: Candidates = None,
    rerank: Rerank = True,
    matcher: Matcher = None,
    pooled: Pooled = None,
    min_match: MinMatch = None,
    target_precision: TargetPrecision = None,
) -> Ranking:
    """Read what is asked of a page."""
    return Ranking(k, candidates, rerank, matcher, pooled, min_match, target_precision)


def asked_of(text: Text = None, like: Like = None, picture: SentPicture = None) -> Asked:
    """Read what is searched by."""
    return Asked.of(text, like=like, sent=picture)


RankingAsked = Annotated[Ranking, Depends(ranking_of)]
QueryAsked = Annotated[Asked, Depends(asked_of)]


@router.get("/v1/galleries/{name}/search", response_model=PageOut, responses=documented(404, 409, 410, 422, 429, 503))
async def search(request: Request, name: Name, query: QueryAsked, ranking: RankingAsked) -> Response:
    """Find pictures by a text, by a picture that is there, or by both. Only a text can rerank."""
    service = service_of(request)
    if query.text is not None and query.picture is None and not ranking.rerank:
        page = await service.search(request, TextQuery(name, query.text, ranking))
    else:
        page = await service.rerank(request, partial(service.sightline.search_gallery, name, query, ranking))
    return as_response(PageOut.of(page))


@router.get(
    "/v1/galleries/{name}/search/events",
    response_class=Response,
    responses=EVENTS | documented(404, 409, 410, 422, 429, 503),
)
async def search_events(request: Request, name: Name, query: QueryAsked, ranking: RankingAsked) -> Response:
    """Search, and tell of every step as it is done: the first stage's page, what the matcher reads, the final page.

    Both pages hold all candidates, also those below the threshold. What is wrong from the start is a problem with its
    status; what goes wrong later is an event `problem`, the last one.
    """
    service = service_of(request)
    service.reranks.check()
    work = partial(service.sightline.search_gallery_steps, name, query, ranking)
    steps = Steps(service.firsts, service.reranks, work)
    first = await service.wait(request, steps.first())
    return StreamingResponse(events_of(first, steps), headers=UNBUFFERED, media_type=EVENT_STREAM)


@router.post(
    "/v1/galleries/{name}/search",
    response_model=PageOut,
    responses=documented(404, 409, 413, 422, 429, 503),
    openapi_extra=body_schema(),
)
async def search_by_picture(request: Request, name: Name, ranking: RankingAsked, text: Text = None) -> Response:
    """Find pictures by a picture, or by a picture and a text together. Only a text can rerank."""
    service = service_of(request)
    service.reranks.check()
    upload = await read_upload(request)
    door = service.sightline.search_gallery
    page = await service.rerank(request, partial(door, name, Asked(text, upload.image), ranking))
    return as_response(PageOut.of(page))
