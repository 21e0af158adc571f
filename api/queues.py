"""Bounded queues between the event loop and the threads in which models and SQL run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Generic, TypeVar

from api.errors import Closing, Overloaded

Job = TypeVar("Job")
Result = TypeVar("Result")


class Queue(Generic[Job, Result]):
    """Jobs that wait for a thread. A thread takes what waits, at most `most` jobs at once, and never waits for more."""

    def __init__(
        self,
        name: str,
        work: Callable[[list[Job]], Sequence[Result | Exception]],
        *,
        limit: int,
        most: int = 1,
        threads: int = 1,
    ) -> None:
        """Let `work` give a result or an error for each of some jobs; at most `limit` jobs wait."""
        self.name, self.limit, self.most = name, limit, most
        self._work = work
        self._waiting: deque[tuple[Job, asyncio.Future[Result]]] = deque()
        self._changed = Condition()
        self._closed = False
        self._threads = [Thread(target=self._run, name=f"{name}-{i}", daemon=True) for i in range(threads)]

    def start(self) -> None:
        """Start the threads; results are delivered to the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> asyncio.Future[Result]:
        """Let a job wait, or raise Overloaded. Cancelling the future drops a job that has not begun."""
        future: asyncio.Future[Result] = self._loop.create_future()
        with self._changed:
            if self._closed:
                raise Closing
            if len(self._waiting) >= self.limit:
                self._drop_cancelled()
            if len(self._waiting) >= self.limit:
                raise Overloaded(self.name, self.limit)
            self._waiting.append((job, future))
            self._changed.notify()
        return future

    def waiting(self) -> int:
        """Count the jobs that wait and that somebody still wants."""
        with self._changed:
            self._drop_cancelled()
            return len(self._waiting)

    def check(self) -> None:
        """Raise Overloaded where a job would not be taken: before a body is read, say."""
        if self.waiting() >= self.limit:
            raise Overloaded(self.name, self.limit)

    def close(self) -> None:
        """Take no more jobs and fail those that wait; call it in the event loop."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        _deliver([(future, Closing()) for _, future in waiting])

    def join(self) -> None:
        """Wait until the jobs that have begun are done."""
        for thread in self._threads:
            thread.join()

    def is_alive(self) -> bool:
        """Say whether a job that had begun goes on after `close`."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while taken := self._take():
            try:
                results = self._work([job for job, _ in taken])
            except Exception as error:
                results = [error] * len(taken)
            # One call into the loop for all of them: waking it is dearer than the delivery.
            futures = [future for _, future in taken]
            self._loop.call_soon_threadsafe(_deliver, list(zip(futures, results, strict=True)))

    def _take(self) -> list[tuple[Job, asyncio.Future[Result]]]:
        """Wait for jobs and take them off the queue; nothing once it is closed."""
        with self._changed:
            while not self._closed:
                self._drop_cancelled()
                if self._waiting:
                    return [self._waiting.popleft() for _ in range(min(self.most, len(self._waiting)))]
                self._changed.wait()
            return []

    def _drop_cancelled(self) -> None:
        if any(future.cancelled() for _, future in self._waiting):
            self._waiting = deque(one for one in self._waiting if not one[1].cancelled())


def call_each(jobs: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """Do jobs that are functions, one after the other."""
    return [_outcome(job) for job in jobs]


def _outcome(job: Callable[[], Result]) -> Result | Exception:
    try:
        return job()
    except Exception as error:
        return error


def _deliver(outcomes: Sequence[tuple[asyncio.Future[Result], Result | Exception]]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
