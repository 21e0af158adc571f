"""Jobs: one row for each long piece of work, from the moment it is asked for to what came of it.

A job with a request is done by a service: it waits, is claimed, and goes on after the process that ran it has died. A
job without one belongs to the process that began it, a command line, and ends with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, delete, false, func, or_, select, update
from sqlalchemy.engine import CursorResult

from storage.db import Session
from storage.errors import JobLost, JobNotFound, NotContinued
from storage.galleries import can_be_named
from storage.holders import LEASE_SECONDS, is_dead
from storage.tables import GalleryTable, JobTable, in_utc, now

WAITING, RUNNING, DONE, FAILED, STOPPED, KILLED = "waiting", "running", "done", "failed", "stopped", "killed"
ACTIVE = (WAITING, RUNNING)
CONTINUABLE = (FAILED, STOPPED, KILLED)
MOST_DEATHS = 3
"""A job that takes its process down every time must not take down every service that is started."""
MOST_ENDED = 1000
"""Jobs that have ended are remembered so far back."""


@dataclass(frozen=True)
class Job:
    """A job as the other rooms see it: `done` of `total` steps of `stage` were durable at `progressed_at`."""

    id: int
    kind: str
    gallery: str | None
    state: str
    request: dict[str, Any] | None
    report: dict[str, Any]
    error: str | None
    stage: str | None
    done: int
    total: int
    stage_started_at: datetime | None
    progressed_at: datetime | None
    cancel_wanted: bool
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def rate(self) -> float | None:
        """Steps of the stage per second so far; None where nothing is known yet."""
        if not self.done or self.stage_started_at is None or self.progressed_at is None:
            return None
        seconds = (self.progressed_at - self.stage_started_at).total_seconds()
        return self.done / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest of the stage takes at this rate, while it is being worked on."""
        rate = self.rate
        return (self.total - self.done) / rate if rate and self.state == RUNNING else None


def enqueue(session: Session, kind: str, gallery: str, request: dict[str, Any]) -> Job:
    """Let a job wait; the same one that waits already, and that nobody wants to cancel, is given instead."""
    alike = _select().where(JobTable.kind == kind, JobTable.gallery == gallery, JobTable.state == WAITING)
    for job in _read(session, alike):
        if job.request == request:
            return job
    _forget_oldest(session)
    row = JobTable(kind=kind, gallery=gallery, gallery_id=_gallery_id(session, gallery), state=WAITING, request=request)
    session.add(row)
    session.flush()
    return by_id(session, row.id)


def begin(session: Session, kind: str, gallery: str, holder: str) -> int:
    """Note that a command line begins a job, and give the job's id."""
    requeue_orphans(session)
    _forget_oldest(session)
    row = JobTable(
        kind=kind,
        gallery=gallery,
        gallery_id=_gallery_id(session, gallery),
        state=RUNNING,
        holder=holder,
        holder_until=_until(),
        started_at=now(),
    )
    session.add(row)
    session.flush()
    return row.id


def claim(session: Session, holder: str) -> Job | None:
    """Take the oldest job that waits and whose gallery nobody is at work on; None where there is none."""
    waiting = select(JobTable.id, JobTable.gallery).where(JobTable.state == WAITING).order_by(JobTable.id)
    busy = _galleries_at_work(session)
    for job_id, gallery in session.execute(waiting).all():
        if gallery not in busy and _claim(session, job_id, holder):
            return by_id(session, job_id)
    return None


def count_waiting(session: Session) -> int:
    """Count the jobs that wait."""
    return session.scalars(select(func.count()).select_from(JobTable).where(JobTable.state == WAITING)).one()


def is_any_due(session: Session) -> bool:
    """Say whether there is anything to claim or to requeue, without the lock of a writer."""
    waiting = select(JobTable.id).where(JobTable.state == WAITING).limit(1)
    return session.scalar(waiting) is not None or bool(_orphans(session))


def renew(session: Session, job_id: int, holder: str) -> None:
    """Say that a job's holder is alive, or raise JobLost.

    A command line that was asleep for longer than its term takes its job up again.
    """
    mine = and_(JobTable.id == job_id, JobTable.holder == holder)
    values = {"holder_until": _until(), "state": RUNNING, "finished_at": None}
    if not _changed(session, mine, values):
        raise JobLost(job_id)


def note(
    session: Session, job_id: int, holder: str, *, stage: str, done: int, total: int, report: dict[str, Any]
) -> None:
    """Say how far a job is, or raise JobLost."""
    renew(session, job_id, holder)
    begins = or_(JobTable.stage.is_(None), JobTable.stage != stage, JobTable.done > done)
    values: dict[str, Any] = {
        "stage": stage,
        "done": done,
        "total": total,
        "report": report,
        "progressed_at": now(),
        "stage_started_at": case((begins, now()), else_=JobTable.stage_started_at),
    }
    if _outlives_its_process(stage, done, report):
        values["deaths"] = 0
    _changed(session, JobTable.id == job_id, values)


def is_cancelled(session: Session, job_id: int) -> bool:
    """Say whether somebody wants a job cancelled."""
    return session.scalars(select(JobTable.cancel_wanted).where(JobTable.id == job_id)).one()


def settle(session: Session, job_id: int, gallery_id: int) -> None:
    """Tie a job to the gallery that it has made or found."""
    _changed(session, JobTable.id == job_id, {"gallery_id": gallery_id})


def finish(
    session: Session, job_id: int, holder: str, *, state: str, report: dict[str, Any], error: str | None = None
) -> None:
    """Note how a job ended: done, stopped, or failed with a sentence. One that was lost is left to who has it now."""
    values = {"state": state, "report": report, "error": error, "finished_at": now(), **_FREE}
    _changed(session, and_(JobTable.id == job_id, JobTable.holder == holder), values)


def hand_back(session: Session, job_id: int, holder: str) -> None:
    """Let a job wait again that its process does not finish; whoever claims it goes on."""
    values = {
        "state": case((JobTable.cancel_wanted, STOPPED), else_=WAITING),
        "finished_at": case((JobTable.cancel_wanted, now()), else_=None),
        "deaths": 0,
        **_FREE,
    }
    _changed(session, and_(JobTable.id == job_id, JobTable.holder == holder), values)


def cancel(session: Session, job_id: int) -> Job:
    """Stop a job: at once where it waits, after its batch where it runs; one that has ended stays as it is."""
    by_id(session, job_id)
    waits = and_(JobTable.id == job_id, JobTable.state == WAITING)
    if not _changed(session, waits, {"state": STOPPED, "finished_at": now()}):
        _changed(session, and_(JobTable.id == job_id, JobTable.state == RUNNING), {"cancel_wanted": True})
    return by_id(session, job_id)


def continue_(session: Session, job_id: int) -> Job:
    """Let a job wait again that failed or was stopped, or raise NotContinued."""
    job = by_id(session, job_id)
    if job.request is None or job.state not in CONTINUABLE:
        raise NotContinued(job_id, job.state, is_service=job.request is not None)
    ended = and_(JobTable.id == job_id, JobTable.state.in_(CONTINUABLE))
    values = {"state": WAITING, "error": None, "cancel_wanted": False, "deaths": 0, "finished_at": None}
    if job.gallery is not None:
        values["gallery_id"] = _gallery_id(session, job.gallery)
    _changed(session, ended, values)
    return by_id(session, job_id)


def stop_waiting(session: Session, gallery: str) -> None:
    """Stop the jobs that wait for a gallery."""
    waits = and_(_is_of(gallery), JobTable.state == WAITING)
    _changed(session, waits, {"state": STOPPED, "finished_at": now()})


def requeue_orphans(session: Session) -> int:
    """Look after jobs whose process is gone; gives how many wait again.

    One with a request waits again, unless somebody wanted it cancelled or it was the end of too many processes.
    """
    requeued = 0
    for row in _orphans(session):
        state, error = KILLED, None
        if row.request is not None:
            state = STOPPED if row.cancel_wanted else WAITING
        if state == WAITING and row.deaths + 1 >= MOST_DEATHS:
            state = FAILED
            error = f"the process that did this job ended {MOST_DEATHS} times before it got any further"
        values: dict[str, Any] = {"state": state, "error": error, "deaths": row.deaths + 1}
        if row.request is not None:
            values |= _FREE  # a command line keeps its name on the row: it may only have been asleep
        if state != WAITING:
            values["finished_at"] = now()
        seen = and_(JobTable.id == row.id, JobTable.state == RUNNING, JobTable.holder_until == row.holder_until)
        requeued += _changed(session, seen, values) and state == WAITING
    return requeued


def by_id(session: Session, job_id: int) -> Job:
    """Read a job, or raise JobNotFound."""
    found = _read(session, _select().where(JobTable.id == job_id)) if 0 < job_id < 1 << 53 else []
    if not found:
        raise JobNotFound(job_id)
    return found[0]


def listing(session: Session, *, gallery: str | None = None, limit: int) -> list[Job]:
    """List jobs, the newest first: all, or those of one gallery."""
    query = _select() if gallery is None else _select().where(_is_of(gallery))
    return _read(session, query.order_by(JobTable.id.desc()).limit(limit))


def active(session: Session, gallery: str) -> list[Job]:
    """List the jobs of a gallery that wait or run, the oldest first."""
    query = _select().where(_is_of(gallery), JobTable.state.in_(ACTIVE))
    return _read(session, query.order_by(JobTable.id))


def running(session: Session, gallery: str) -> Job | None:
    """Give the job that is at work on a gallery, if its process lives."""
    gone = {row.id for row in _orphans(session)}
    return next((job for job in active(session, gallery) if job.state == RUNNING and job.id not in gone), None)


def _is_of(gallery: str) -> ColumnElement[bool]:
    """Whether a job is a gallery's; of a name that cannot be, which a database may refuse to look at, there is none."""
    return JobTable.gallery == gallery if can_be_named(gallery) else false()


def _outlives_its_process(stage: str, done: int, report: dict[str, Any]) -> bool:
    """Whether what was done so far need not be done again: items in SQL; all else begins again.

    Of pictures those count that are in the gallery now: a file that cannot be read may be tried in every run.
    """
    if stage == "pictures":
        return any(report.get(name) for name in ("added", "renamed", "removed"))
    return stage == "texts" and done > 0


def _forget_oldest(session: Session) -> None:
    """Keep the newest of the jobs that have ended."""
    ended = JobTable.state.not_in(ACTIVE)
    oldest = session.scalar(select(JobTable.id).where(ended).order_by(JobTable.id.desc()).offset(MOST_ENDED).limit(1))
    if oldest is not None:
        session.execute(delete(JobTable).where(ended, JobTable.id <= oldest))


_FREE: dict[str, Any] = {"holder": None, "holder_until": None}


def _claim(session: Session, job_id: int, holder: str) -> bool:
    values = {
        "state": RUNNING,
        "holder": holder,
        "holder_until": _until(),
        "started_at": now(),
        "finished_at": None,
        "stage": None,
        "done": 0,
        "total": 0,
        "stage_started_at": None,
        "progressed_at": None,
        "error": None,
    }
    return _changed(session, and_(JobTable.id == job_id, JobTable.state == WAITING), values)


def _galleries_at_work(session: Session) -> set[str | None]:
    """Name the galleries that a living process is writing or reading as a job."""
    gone = {row.id for row in _orphans(session)}
    at_work = select(JobTable.id, JobTable.gallery).where(JobTable.state == RUNNING)
    leased = select(GalleryTable.name, GalleryTable.lease_holder).where(GalleryTable.lease_until >= now())
    busy: set[str | None] = {gallery for job_id, gallery in session.execute(at_work) if job_id not in gone}
    return busy | {name for name, holder in session.execute(leased) if holder is not None and not is_dead(holder)}


def _orphans(session: Session) -> Sequence[JobTable]:
    """Find the jobs that run by the table, but whose process is gone or says nothing any more."""
    rows = session.scalars(select(JobTable).where(JobTable.state == RUNNING)).all()
    late = now()
    return [
        row
        for row in rows
        if row.holder is None or (row.holder_until is None or in_utc(row.holder_until) <= late) or is_dead(row.holder)
    ]


def _gallery_id(session: Session, name: str) -> int | None:
    return session.scalar(select(GalleryTable.id).where(GalleryTable.name == name))


def _changed(session: Session, where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    """Update rows and say whether there was one."""
    statement = update(JobTable).where(where).values(**values).execution_options(synchronize_session=False)
    done = session.execute(statement)
    assert isinstance(done, CursorResult)
    return done.rowcount > 0


def _until() -> datetime:
    return now() + timedelta(seconds=LEASE_SECONDS)


def _select() -> Select[Any]:
    return select(*(getattr(JobTable, column.name) for column in fields(Job)))


def _read(session: Session, query: Select[Any]) -> list[Job]:
    return [_job(*row) for row in session.execute(query)]


def _job(*columns: Any) -> Job:
    values: list[Any] = [in_utc(one) if isinstance(one, datetime) else one for one in columns]
    return Job(*values)
