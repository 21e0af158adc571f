"""The worker: a thread of the service that takes jobs which wait, one after the other, and calls the same doors."""

from __future__ import annotations

import logging
from contextlib import suppress
from threading import Event, Thread

from api.doors.watching import DEFECT, Paused, Watch
from api.errors import DOMAIN, Stopped
from api.hosted import Hosted
from storage import jobs
from storage.errors import GalleryBusy, JobLost, LeaseLost
from storage.holders import new_holder
from storage.jobs import Job

POLL_SECONDS = 2.0
"""How soon a job is seen that another process let wait."""

log = logging.getLogger("sightline")


class Worker:
    """Does the jobs of a database until it is closed; a job that is not done by then goes on in the next process."""

    def __init__(self, sightline: Hosted) -> None:
        self._sightline = sightline
        self._holder = new_holder()
        self._closing, self._wanted = False, Event()
        self._complaint = ""
        self._in_hand: Watch | None = None
        self._thread = Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Begin to look for jobs."""
        self._thread.start()

    def wake(self) -> None:
        """Look for a job now."""
        self._wanted.set()

    def close(self) -> None:
        """Take no more jobs, and pause the one in hand after its batch."""
        self._closing = True
        self.wake()

    def is_alive(self) -> bool:
        """Say whether a job is still in hand after `close`."""
        return self._thread.is_alive()

    def give_up(self) -> None:
        """Put the job in hand back without waiting for it: its process ends, and the next one goes on."""
        watch = self._in_hand
        if watch is not None:
            try:
                watch.hand_back()
            except Exception as error:  # the row cannot be written: it is found when this process is gone
                self._complain(error)

    def _run(self) -> None:
        with suppress(OSError):
            self._sightline.wiring.uploads.sweep()
        while not self._closing:
            job = self._next()
            if job is None:
                self._wanted.wait(POLL_SECONDS)
                self._wanted.clear()
            else:
                self._do(job)

    def _next(self) -> Job | None:
        """Claim a job, after a look at what dead processes left; a database that cannot be used may come back."""
        try:
            database = self._sightline.wiring.database
            with database.reading() as session:
                if not jobs.is_any_due(session):
                    return None
            with database.writing() as session:
                jobs.requeue_orphans(session)
                return jobs.claim(session, self._holder)
        except Exception as error:
            self._complain(error)
            return None

    def _do(self, job: Job) -> None:
        watch = Watch(self._sightline.wiring.database, job.id, self._holder, is_closing=lambda: self._closing)
        self._in_hand = watch
        try:
            self._end(job, watch)
        except Exception as error:  # the row cannot be written: whoever finds it later goes on
            self._complain(error)
        finally:
            self._in_hand = None

    def _end(self, job: Job, watch: Watch) -> None:
        """Do a job and note what became of it."""
        try:
            with watch.shown():
                self._sightline.do(job, watch)
        except (Paused, GalleryBusy, LeaseLost):
            watch.hand_back()
        except Stopped:
            watch.end(jobs.STOPPED)
        except JobLost as error:
            log.warning("%s", error)
        except DOMAIN as error:
            watch.end(jobs.FAILED, str(error))
        except Exception:
            log.exception("job %d (%s) failed", job.id, job.kind)
            watch.end(jobs.FAILED, DEFECT)
        else:
            watch.end(jobs.DONE)

    def _complain(self, error: Exception) -> None:
        """Say once what stands in the way."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("jobs wait: %s", error)
