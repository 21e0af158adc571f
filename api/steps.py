"""Work that tells of its steps: done in a queue's thread, read in the event loop, sent as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from threading import Event
from typing import Any, Final

from fastapi.sse import format_sse_event

from api.errors import DOMAIN, Overloaded
from api.problems import problem_of
from api.queues import Queue
from api.results import Page
from api.schemas import PageOut, ReadOut
from retrieval.search import Read

Step = Page | Read
Jobs = Queue[Callable[[], Any], Any]
END: Final = None
SECONDS_BETWEEN_TRIES = 0.1

EVENT_STREAM = "text/event-stream"
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Proxies must pass events on as they come; nginx asks for the second header."""
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events `first` (a PageOut), `judged` (a ReadOut each), `page` (a PageOut); or `problem`",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}


class Steps:
    """The steps of one search. The first is made in one queue, the others in another; closing stops at the next step.

    The first stage takes milliseconds and must not wait until the matcher has read what others asked for.
    """

    def __init__(self, first: Jobs, others: Jobs, work: Callable[[], Iterator[Step]]) -> None:
        """Let the first step wait in its queue."""
        self._others, self._gone = others, Event()
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Step | None] = asyncio.Queue()
        self._steps: Iterator[Step] = iter(())
        self._waits: asyncio.Future[Any] = first.put(partial(self._begin, work))

    async def first(self) -> Step:
        """Wait for the first step, or raise the reason why there is none."""
        try:
            step: Step = await self._waits
            return step
        except BaseException:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[Step]:
        """Give the other steps as they come, then raise what went wrong."""
        self._waits = await self._place_in_line()
        self._waits.add_done_callback(lambda _: self._told.put_nowait(END))
        while (step := await self._told.get()) is not END:
            yield step
        self._waits.result()

    async def _place_in_line(self) -> asyncio.Future[Any]:
        """Wait for room in the second queue: who has been given the first step must not be sent away."""
        while True:
            try:
                return self._others.put(self._go_on)
            except Overloaded:
                await asyncio.sleep(SECONDS_BETWEEN_TRIES)

    def close(self) -> None:
        """Want no more of it."""
        self._gone.set()
        self._waits.cancel()

    def _begin(self, work: Callable[[], Iterator[Step]]) -> Step:
        self._steps = work()
        return next(self._steps)

    def _go_on(self) -> None:
        for step in self._steps:
            self._loop.call_soon_threadsafe(self._told.put_nowait, step)
            if self._gone.is_set():
                return


async def events_of(first: Step, steps: Steps) -> AsyncIterator[bytes]:
    """Write the steps of a search as events; the last one is the page, or a problem."""
    try:
        yield _event("first", first)
        async for step in steps:
            yield _event("judged" if isinstance(step, Read) else "page", step)
    except Exception as error:
        if not isinstance(error, DOMAIN):
            raise
        yield format_sse_event(event="problem", data_str=problem_of(error).model_dump_json())
    finally:
        steps.close()


def _event(name: str, step: Step) -> bytes:
    schema = ReadOut.of(step) if isinstance(step, Read) else PageOut.of(step)
    return format_sse_event(event=name, data_str=schema.model_dump_json())
