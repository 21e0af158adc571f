"""Jobs: one row for each long piece of work, with what came of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from storage.db import Session
from storage.tables import JobTable, now


def start(session: Session, gallery_id: int, kind: str) -> int:
    """Note that work begins and give the job's id; what still runs by the table was killed."""
    killed = JobTable.gallery_id == gallery_id, JobTable.kind == kind, JobTable.state == "running"
    session.execute(update(JobTable).where(*killed).values(state="killed"))
    job = JobTable(gallery_id=gallery_id, kind=kind, state="running", report={}, started_at=now())
    session.add(job)
    session.flush()
    return job.id


def finish(session: Session, job_id: int, *, state: str, report: dict[str, Any]) -> None:
    """Note how work ended: done, stopped or failed."""
    job = session.get_one(JobTable, job_id)
    job.state, job.report, job.finished_at = state, report, now()
