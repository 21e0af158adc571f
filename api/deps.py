"""What a route may ask for: the service, and the parameters that several routes take."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from threading import Thread
from time import monotonic
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.doors.ranking import MOST_CANDIDATES, MOST_HITS, MOST_POOLED, Ranking
from api.errors import DOMAIN, Closing, UsageError
from api.hosted import Hosted
from api.queues import Queue, call_each
from api.results import Page
from api.settings import Settings
from api.worker import Worker

Result = TypeVar("Result")

BATCH = 64
"""First-stage queries answered in one pass: more gain nothing and make the first of them wait."""
FIRST_STEPS = 2
"""Threads that make the first step of searches that tell of their steps."""
CLOSING_SECONDS = 8.0
"""How long what runs may go on when the service ends: Docker kills a process after ten."""
MOST_UPLOADS = 32
"""Uploads that may wait: each is a body in memory, of up to SIGHTLINE_UPLOAD_BYTES."""
READERS = 4
"""Threads that read SQL and files for everything but searches."""
MOST_CHARACTERS = 10_000
LONGEST_FIELD = 60
MOST_NAME = 4096
"""Characters of a model's name: it may be a folder of the server's own."""

log = logging.getLogger("sightline")


@dataclass(frozen=True)
class TextQuery:
    """A text for the first stage alone."""

    gallery: str
    text: str
    ranking: Ranking

    @property
    def kind(self) -> tuple[str, int]:
        """What queries must have in common to be answered in one pass."""
        return self.gallery, self.ranking.pooled or 0


class Service:
    """The library, and the queues by which the event loop hands it work: no model and no SQL runs in the loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sightline = Hosted(settings=settings, say=log.warning)
        self.searches: Queue[TextQuery, Page] = Queue(
            "search", self._answer_batch, limit=settings.search_queue, most=BATCH
        )
        self.reranks: Queue[Callable[[], Any], Any] = Queue("rerank", call_each, limit=settings.rerank_queue)
        self.reads: Queue[Callable[[], Any], Any] = Queue(
            "read", call_each, limit=settings.search_queue, threads=READERS
        )
        self.worker = Worker(self.sightline)
        # Not among the reads: a first step may load a model, and thumbnails must not wait for that.
        self.firsts: Queue[Callable[[], Any], Any] = Queue(
            "first", call_each, limit=settings.search_queue, threads=FIRST_STEPS
        )
        self.uploads: Queue[Callable[[], Any], Any] = Queue("upload", call_each, limit=MOST_UPLOADS, threads=2)
        self.queues = (self.searches, self.firsts, self.reranks, self.reads, self.uploads)
        self.is_closing = False
        self.is_in_a_hurry: Callable[[], bool] = lambda: False
        """Says whether somebody does not want to wait for the end of what runs."""
        self._warming = Thread(target=self._warm_up, name="warm-up", daemon=True)

    async def open(self) -> None:
        """Open the database and start the threads; models are loaded behind the scenes.

        A database that cannot be opened yet is not the end: /readyz says so until it can.
        """
        await run_in_threadpool(self._open_database)
        for queue in self.queues:
            queue.start()
        self._warming.start()
        self.worker.start()

    async def close(self) -> None:
        """Fail what waits, let what runs end for a while, and return what is open.

        A job that has not ended by then is put back for the next process: a step of it may take minutes.
        """
        self.is_closing = True
        for queue in self.queues:
            queue.close()
        self.worker.close()
        deadline = monotonic() + CLOSING_SECONDS
        while self.is_at_work() and not self.is_in_a_hurry() and monotonic() < deadline:
            await asyncio.sleep(0.01)
        await run_in_threadpool(self.worker.give_up if self.is_at_work() else self.sightline.close)

    def is_at_work(self) -> bool:
        """Say whether anything still runs."""
        return any(one.is_alive() for one in (*self.queues, self._warming, self.worker))

    async def search(self, request: Request, query: TextQuery) -> Page:
        """Answer by the first stage, together with the other queries that wait."""
        return await _result(request, self.searches.put(query))

    async def rerank(self, request: Request, job: Callable[[], Result]) -> Result:
        """Do what a matcher, captioner or answerer has to do, one after the other."""
        return await _result(request, self.reranks.put(job))

    async def keep(self, request: Request, job: Callable[[], Result]) -> Result:
        """Write what was sent."""
        return await _result(request, self.uploads.put(job))

    async def wait(self, request: Request, coming: Coroutine[Any, Any, Result]) -> Result:
        """Wait for something that is under way already, as long as the client does."""
        return await _result(request, asyncio.ensure_future(coming))

    async def read(self, request: Request, job: Callable[[], Result]) -> Result:
        """Read SQL or files."""
        return await _result(request, self.reads.put(job))

    async def check(self) -> None:
        """Raise unless requests can be answered."""
        if self.is_closing:
            raise Closing
        await run_in_threadpool(self.sightline.check)

    def _answer_batch(self, queries: list[TextQuery]) -> list[Page | Exception]:
        """Answer queries gallery by gallery, each in one pass; those with a first pass of their own apart."""
        answers: dict[int, Page | Exception] = {}
        by_kind = sorted(range(len(queries)), key=lambda i: queries[i].kind)
        for _, group in groupby(by_kind, key=lambda i: queries[i].kind):
            places = list(group)
            answers.update(zip(places, self._answer_together([queries[i] for i in places]), strict=True))
        return [answers[i] for i in range(len(queries))]

    def _answer_together(self, queries: list[TextQuery]) -> Iterable[Page | Exception]:
        name, pooled = queries[0].gallery, queries[0].ranking.pooled
        texts, ks = [one.text for one in queries], [one.ranking.k for one in queries]
        try:
            return self.sightline.search_batch(name, texts, ks, pooled=pooled)
        except Exception as error:
            if len(queries) == 1:
                return [error]
        # One of them is at fault: the others get their answers.
        return [page for one in queries for page in self._answer_together([one])]

    def _open_database(self) -> None:
        try:
            self.sightline.check()
        except DOMAIN as error:
            log.error("not ready: %s", error)
        except Exception:
            log.exception("not ready: the database cannot be opened")

    def _warm_up(self) -> None:
        try:
            for summary in self.sightline.galleries():
                if self.is_closing:
                    return
                self.sightline.warm_up(summary.name)
        except DOMAIN as error:
            log.warning("the first queries will be slow: %s", error)
        except Exception:
            log.exception("the first queries will be slow")
        # What is loaded stays: a full collection that walks through all of it stops every thread for a quarter of a
        # second, which under load came with every thousandth query and cost a third of the throughput.
        gc.collect()
        gc.freeze()


def service_of(request: Request) -> Service:
    """Give the service of the application that was asked."""
    service: Service = request.app.state.service
    return service


async def only_known_parameters(request: Request) -> None:
    """Raise UsageError for a parameter that the route does not take: a misspelt one would be passed over in silence.

    What a route takes says its description; what has none, as the page, reads its own address.
    """
    route = request.scope.get("route")
    if not request.query_params or not getattr(route, "include_in_schema", False):
        return
    assert isinstance(route, APIRoute)
    operation = request.app.openapi()["paths"][route.path_format][request.method.lower()]
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    for name in request.query_params:
        # Where nothing is taken, nothing can be misspelt.
        if known and name not in known:
            sentence = f"{request.url.path} has no parameter {name[:LONGEST_FIELD]!r}; it takes {', '.join(known)}"
            raise UsageError(name[:LONGEST_FIELD], sentence)


def as_response(schema: BaseModel, status: int = 200) -> Response:
    """Write a schema as JSON, once: FastAPI would turn it into dictionaries and validate them again."""
    return Response(schema.model_dump_json(), status, media_type="application/json")


async def _result(request: Request, future: asyncio.Future[Result]) -> Result:
    """Wait for a job; when the client goes away, a job that has not begun is dropped."""
    gone = asyncio.ensure_future(_disconnected(request))
    gone.add_done_callback(partial(_cancel, future))
    try:
        return await future
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            gone.result()  # raises where it was not the client that ended it, but the limit of the body
            raise ClientDisconnect from None
        raise
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _cancel(future: asyncio.Future[Any], _gone: asyncio.Future[None]) -> None:
    future.cancel()


def _with_words(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "the text is empty; give at least one word")
    if not text.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in text):
        raise PydanticCustomError("surrogate", "the text holds half a character; send whole ones")
    return text


Words = Annotated[str, Field(max_length=MOST_CHARACTERS), AfterValidator(_with_words)]
Name = Annotated[str, Path(description="a gallery's name")]
JobId = Annotated[int, Path(alias="id", description="a job's id")]
ItemId = Annotated[int, Path(alias="id", description="an item's id")]
Text = Annotated[Words | None, Query(description="what the pictures should show", examples=["a yellow boat"])]
K = Annotated[int, Query(ge=1, le=MOST_HITS, description="how many hits")]
Candidates = Annotated[
    int | None,
    Query(
        ge=1,
        le=MOST_CANDIDATES,
        description="how many hits of the first stage are reranked; unset, it suits the model and the device",
    ),
]
Matcher = Annotated[
    str | None,
    Query(
        max_length=MOST_NAME,
        description="a model whose matcher reranks in place of the gallery's: a name of `sightline models` whose "
        "weights are here",
        examples=["postcards"],
    ),
]
Pooled = Annotated[
    int | None,
    Query(
        ge=1,
        le=MOST_POOLED,
        description="where pictures have several vectors: how many a first pass by the mean of each hands on, at least "
        "k and candidates; unset, all vectors are searched",
    ),
]
Like = Annotated[int | None, Query(ge=1, description="the id of an item whose picture is searched by")]
SentPicture = Annotated[
    str | None,
    Query(pattern="^[0-9a-f]{64}$", description="a picture to search by: what POST /v1/pictures said of it"),
]
MinMatch = Annotated[
    float | None,
    Query(ge=0, le=1, description="the match probability that hits need; where none has it, nothing matches"),
]
TargetPrecision = Annotated[
    float | None,
    Query(ge=0, le=1, description="choose min_match by the gallery's calibration so that this share of hits is right"),
]
Rerank = Annotated[bool, Query(description="false leaves the order of the first stage, which is much quicker")]
