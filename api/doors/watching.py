"""Work that somebody may want to watch: its progress is a job's row, and it can be ended from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from typing import Any

from api.errors import DOMAIN, Stopped
from api.wiring import Wiring
from indexer.build import Progress
from storage import jobs
from storage.db import Database, Session
from storage.errors import JobLost
from storage.galleries import Gallery
from storage.holders import LEASE_SECONDS, new_holder

SECONDS_BETWEEN_NOTES = 1.0
SECONDS_BETWEEN_SIGNS = LEASE_SECONDS / 3
"""A job that does not move says that often that its process lives."""
DEFECT = "a defect of the program, not of what was asked for; its log says more"


class Paused(Exception):
    """The process ends; the job goes on in the next one."""


class Watch:
    """Progress that a job's row shows too, about a second late: a thread writes it, so that the work does not wait.

    Between two batches it ends the work, by Stopped where somebody cancelled the job, by Paused where the process ends,
    and by JobLost where another process has taken the job over.
    """

    def __init__(
        self,
        database: Database,
        job_id: int,
        holder: str,
        *,
        below: Progress | None = None,
        is_closing: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write the row of a job that `holder` holds; `below` is told as well."""
        self.job_id, self.holder = job_id, holder
        self.report: Callable[[], dict[str, Any]] = dict
        self._database, self._below, self._is_closing = database, below, is_closing
        self._before: dict[str, Any] = {}
        self._stage: str | None = None
        self._done = self._total = 0
        self._changed, self._hurry, self._ended = Event(), Event(), Event()
        self._verdict: Exception | None = None

    def begin(self, what: str, total: int) -> None:
        """Start a chapter; one without steps is not worth a note."""
        if self._below is not None:
            self._below.begin(what, total)
        if total:
            self._stage, self._done, self._total = what, 0, total
            self._changed.set()
            self._hurry.set()
        self._end_if_asked()

    def advance(self, count: int) -> None:
        """Move on. The first step of a chapter is noted at once: it tells a job that moves from one that cannot."""
        if not self._done:
            self._hurry.set()
        self._done += count
        self._changed.set()
        if self._below is not None:
            self._below.advance(count)
        self._end_if_asked()

    def settle(self, gallery: Gallery) -> None:
        """Tie the job to the gallery that it has made or found."""
        with self._database.writing() as session:
            jobs.settle(session, self.job_id, gallery.id)

    def add_up(self) -> None:
        """Close a part of the work: the counts of the next part are added to those of this one."""
        self._before, self.report = self.counts(), dict

    def counts(self) -> dict[str, Any]:
        """Say what was found and done so far."""
        now = {name: self._before.get(name, 0) + n if type(n) is int else n for name, n in self.report().items()}
        return self._before | now

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the job's row up to date while the work goes on."""
        thread = Thread(target=self._show, name=f"job-{self.job_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._hurry.set()
            thread.join()

    def end(self, state: str, error: str | None = None) -> None:
        """Note how the job ended; one that was lost is left to who has it now."""
        with suppress(JobLost), self._database.writing() as session:
            self._note(session)
            jobs.finish(session, self.job_id, self.holder, state=state, report=self.counts(), error=error)

    def hand_back(self) -> None:
        """Let the job wait for whoever goes on with it."""
        with self._database.writing() as session:
            jobs.hand_back(session, self.job_id, self.holder)

    def _show(self) -> None:
        """Write what has changed, and look whether somebody wants the job cancelled."""
        last = monotonic()
        while not self._ended.is_set():
            # Whatever goes wrong with one note may pass by the next.
            with suppress(Exception):
                if self._changed.is_set() or monotonic() - last >= SECONDS_BETWEEN_SIGNS:
                    self._changed.clear()
                    self._write()
                    last = monotonic()
                self._look()
            self._hurry.wait(SECONDS_BETWEEN_NOTES)
            self._hurry.clear()

    def _write(self) -> None:
        try:
            with self._database.writing() as session:
                self._note(session)
        except JobLost as error:
            self._verdict = error

    def _look(self) -> None:
        with self._database.reading() as session:
            if jobs.is_cancelled(session, self.job_id):
                self._verdict = self._verdict or Stopped()

    def _note(self, session: Session) -> None:
        if self._stage is None:
            jobs.renew(session, self.job_id, self.holder)
            return
        jobs.note(
            session,
            self.job_id,
            self.holder,
            stage=self._stage,
            done=self._done,
            total=self._total,
            report=self.counts(),
        )

    def _end_if_asked(self) -> None:
        if self._verdict is not None:
            raise self._verdict
        if self._is_closing():
            raise Paused


@contextmanager
def watched(wiring: Wiring, gallery: Gallery, kind: str, progress: Progress) -> Iterator[Watch]:
    """Let work on a gallery be seen as a job; what the service runs is one already.

    Raises Stopped where somebody cancels it.
    """
    if isinstance(progress, Watch):
        progress.settle(gallery)
        yield progress
        progress.add_up()
        return
    holder = new_holder()
    with wiring.database.writing() as session:
        job_id = jobs.begin(session, kind, gallery.name, holder)
    watch = Watch(wiring.database, job_id, holder, below=progress)
    try:
        with watch.shown():
            yield watch
    except (KeyboardInterrupt, Stopped):
        watch.end(jobs.STOPPED)
        raise
    except Exception as error:
        watch.end(jobs.FAILED, str(error) if isinstance(error, DOMAIN) else DEFECT)
        raise
    watch.end(jobs.DONE)
