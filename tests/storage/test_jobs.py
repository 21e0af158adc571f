"""Jobs: who takes which, what becomes of those whose process died, and what each can be asked."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from storage import galleries, jobs
from storage.db import Database, Session
from storage.errors import JobLost, JobNotFound, NotContinued
from storage.holders import new_holder
from storage.jobs import Job
from storage.tables import JobTable, now

MINE, YOURS = new_holder(), new_holder()
DEAD = f"{socket.gethostname()[:64]}:{1 << 30}:1:abcd"
"""No process has this number."""


def asked(database: Database, gallery: str = "photos", kind: str = "index", **more: Any) -> int:
    with database.writing() as session:
        return jobs.enqueue(session, kind, gallery, {"kind": kind, "gallery": gallery, **more}).id


def asked_in(session: Session, gallery: str) -> int:
    return jobs.enqueue(session, "index", gallery, {"gallery": gallery}).id


def claimed(database: Database, holder: str = MINE) -> Job | None:
    with database.writing() as session:
        return jobs.claim(session, holder)


def requeued(database: Database) -> int:
    with database.writing() as session:
        return jobs.requeue_orphans(session)


def noted(database: Database, job_id: int, done: int, holder: str = MINE) -> None:
    with database.writing() as session:
        jobs.note(session, job_id, holder, stage="pictures", done=done, total=10, report={"found": 10, "added": done})


def read(database: Database, job_id: int) -> Job:
    with database.reading() as session:
        return jobs.by_id(session, job_id)


def change(database: Database, job_id: int, **values: Any) -> None:
    with database.writing() as session:
        session.execute(update(JobTable).where(JobTable.id == job_id).values(**values))


def test_the_oldest_job_is_taken_first_and_only_once(database: Database) -> None:
    first, second = asked(database, "a"), asked(database, "b")
    taken = [claimed(database, holder) for holder in (MINE, YOURS, MINE)]
    assert [job and job.id for job in taken] == [first, second, None]


def test_a_job_waits_while_another_one_is_at_work_on_its_gallery(database: Database) -> None:
    first, second, other = asked(database), asked(database, kind="evaluate"), asked(database, "b")
    assert [job and job.id for job in (claimed(database), claimed(database), claimed(database))] == [first, other, None]
    with database.writing() as session:
        jobs.finish(session, first, MINE, state=jobs.DONE, report={})
    taken = claimed(database)
    assert taken is not None
    assert taken.id == second


def test_a_job_waits_while_a_command_line_writes_its_gallery(database: Database) -> None:
    with database.writing() as session:
        gallery = galleries.create(session, "photos")
        galleries.acquire_lease(session, gallery, YOURS)
    asked(database)
    assert claimed(database) is None
    with database.writing() as session:
        galleries.release_lease(session, gallery, YOURS)
    assert claimed(database) is not None


def test_the_same_job_asked_for_twice_waits_once(database: Database) -> None:
    assert asked(database) == asked(database)
    assert asked(database, folder="/other") != asked(database)


def test_progress_gives_a_rate_and_the_time_left(database: Database) -> None:
    job_id = asked(database)
    claimed(database)
    noted(database, job_id, 0)
    began = now() - timedelta(seconds=2)
    change(database, job_id, stage_started_at=began)
    noted(database, job_id, 4)
    job = read(database, job_id)
    assert (job.stage, job.done, job.total, job.report) == ("pictures", 4, 10, {"found": 10, "added": 4})
    assert job.rate == pytest.approx(2, rel=0.5)
    assert job.seconds_left == pytest.approx(6 / (job.rate or 0))


def test_a_new_stage_begins_a_new_rate(database: Database) -> None:
    job_id = asked(database)
    claimed(database)
    noted(database, job_id, 4)
    with database.writing() as session:
        jobs.note(session, job_id, MINE, stage="texts", done=0, total=3, report={})
    assert (read(database, job_id).rate, read(database, job_id).seconds_left) == (None, None)


def test_cancelling_stops_a_waiting_job_at_once_and_asks_a_running_one(database: Database) -> None:
    waiting, running = asked(database, "a"), asked(database, "b")
    with database.writing() as session:
        assert jobs.cancel(session, waiting).state == jobs.STOPPED
    claimed(database)
    with database.writing() as session:
        assert not jobs.is_cancelled(session, running)
        assert jobs.cancel(session, running).state == jobs.RUNNING
        assert jobs.is_cancelled(session, running)


def test_a_job_that_has_ended_cannot_be_cancelled(database: Database) -> None:
    job_id = asked(database)
    claimed(database)
    with database.writing() as session:
        jobs.finish(session, job_id, MINE, state=jobs.DONE, report={"found": 3})
        assert jobs.cancel(session, job_id).state == jobs.DONE


def test_a_job_whose_process_died_waits_again(database: Database) -> None:
    job_id = asked(database)
    assert claimed(database, DEAD)
    assert requeued(database) == 1
    assert read(database, job_id).state == jobs.WAITING
    assert requeued(database) == 0


def test_a_job_whose_process_is_silent_elsewhere_waits_again(database: Database) -> None:
    job_id = asked(database)
    claimed(database, "elsewhere:1:1:abcd")
    assert requeued(database) == 0
    change(database, job_id, holder_until=now() - timedelta(seconds=1))
    assert requeued(database) == 1


def test_a_job_of_a_living_process_stays_with_it(database: Database) -> None:
    job_id = asked(database)
    claimed(database)
    assert requeued(database) == 0
    assert read(database, job_id).state == jobs.RUNNING


def test_who_lost_a_job_is_told_and_cannot_end_it(database: Database) -> None:
    job_id = asked(database)
    claimed(database)
    change(database, job_id, holder_until=now() - timedelta(seconds=1))
    requeued(database)
    assert claimed(database, YOURS) is not None
    with pytest.raises(JobLost):
        noted(database, job_id, 5)
    with database.writing() as session:
        jobs.finish(session, job_id, MINE, state=jobs.FAILED, report={}, error="too late")
    assert read(database, job_id).state == jobs.RUNNING


def test_a_job_that_kills_its_process_again_and_again_fails(database: Database) -> None:
    job_id = asked(database)
    for _ in range(jobs.MOST_DEATHS):
        assert claimed(database, DEAD)
        requeued(database)
    assert read(database, job_id).state == jobs.FAILED
    with database.writing() as session:
        assert jobs.continue_(session, job_id).state == jobs.WAITING


def test_a_job_that_gets_on_may_be_killed_as_often_as_it_likes(database: Database) -> None:
    job_id = asked(database)
    for step in range(2 * jobs.MOST_DEATHS):
        assert claimed(database, DEAD)
        noted(database, job_id, step + 1, DEAD)
        requeued(database)
    assert read(database, job_id).state == jobs.WAITING


@pytest.mark.parametrize(
    ("stage", "report"),
    [
        ("postcards", {}),
        ("captions", {}),
        ("queries", {"added": 200}),  # the demo's pictures, which are there whatever the calibration does
        ("pictures", {"found": 10, "failed": 5}),  # files that are tried in every run
    ],
)
def test_what_begins_again_with_every_process_is_no_progress(
    database: Database, stage: str, report: dict[str, int]
) -> None:
    job_id = asked(database, kind="demo")
    for _ in range(jobs.MOST_DEATHS):
        assert claimed(database, DEAD)
        with database.writing() as session:
            jobs.note(session, job_id, DEAD, stage=stage, done=5, total=10, report=report)
        requeued(database)
    assert read(database, job_id).state == jobs.FAILED


def test_texts_that_are_stored_are_progress(database: Database) -> None:
    job_id = asked(database)
    for step in range(jobs.MOST_DEATHS):
        assert claimed(database, DEAD)
        with database.writing() as session:
            jobs.note(session, job_id, DEAD, stage="texts", done=step + 1, total=10, report={"added": 0})
        requeued(database)
    assert read(database, job_id).state == jobs.WAITING


def test_a_job_that_is_handed_back_waits_and_one_that_was_cancelled_has_ended(database: Database) -> None:
    kept, cancelled = asked(database, "a"), asked(database, "b")
    claimed(database)
    claimed(database)
    with database.writing() as session:
        jobs.cancel(session, cancelled)
        for job_id in (kept, cancelled):
            jobs.hand_back(session, job_id, MINE)
    assert (read(database, kept).state, read(database, kept).finished_at) == (jobs.WAITING, None)
    assert read(database, cancelled).state == jobs.STOPPED
    assert read(database, cancelled).finished_at is not None


def test_only_the_newest_jobs_that_have_ended_are_remembered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MOST_ENDED", 2)
    waiting = asked(database, "waits")
    for name in "abcd":
        with database.writing() as session:
            jobs.cancel(session, asked_in(session, name))
    last = asked(database, "last")
    with database.reading() as session:
        listed = jobs.listing(session, limit=9)
    assert [(job.gallery, job.state) for job in listed] == [
        ("last", jobs.WAITING),
        ("d", jobs.STOPPED),
        ("c", jobs.STOPPED),
        ("waits", jobs.WAITING),
    ]
    assert (listed[0].id, listed[-1].id) == (last, waiting)


@pytest.mark.parametrize("name", ["", "\0", "A", "../x", "x" * 300])
def test_a_gallery_of_no_name_has_no_jobs(database: Database, name: str) -> None:
    asked(database, "photos")
    with database.writing() as session:
        assert jobs.listing(session, gallery=name, limit=9) == []
        assert jobs.running(session, name) is None
        jobs.stop_waiting(session, name)
        assert not galleries.exists(session, name)
    assert claimed(database) is not None


def test_a_killed_job_that_was_to_be_cancelled_is_stopped(database: Database) -> None:
    job_id = asked(database)
    claimed(database, DEAD)
    with database.writing() as session:
        jobs.cancel(session, job_id)
    requeued(database)
    assert read(database, job_id).state == jobs.STOPPED


def test_a_killed_command_line_is_killed_and_does_not_wait(database: Database) -> None:
    with database.writing() as session:
        job_id = jobs.begin(session, "index", "photos", DEAD)
    assert requeued(database) == 0
    assert read(database, job_id).state == jobs.KILLED
    with database.writing() as session, pytest.raises(NotContinued, match="same command"):
        jobs.continue_(session, job_id)


def test_a_command_line_that_was_asleep_takes_its_job_up_again(database: Database) -> None:
    with database.writing() as session:
        job_id = jobs.begin(session, "index", "photos", MINE)
    change(database, job_id, holder_until=now() - timedelta(seconds=1))
    requeued(database)
    assert read(database, job_id).state == jobs.KILLED
    noted(database, job_id, 1)
    assert read(database, job_id).state == jobs.RUNNING


@pytest.mark.parametrize("state", [jobs.FAILED, jobs.STOPPED, jobs.KILLED])
def test_what_ended_early_can_be_continued(database: Database, state: str) -> None:
    job_id = asked(database)
    change(database, job_id, state=state, error="no", cancel_wanted=True)
    with database.writing() as session:
        job = jobs.continue_(session, job_id)
    assert (job.state, job.error, job.cancel_wanted) == (jobs.WAITING, None, False)


@pytest.mark.parametrize("state", [jobs.WAITING, jobs.RUNNING, jobs.DONE])
def test_what_has_not_ended_early_cannot_be_continued(database: Database, state: str) -> None:
    job_id = asked(database)
    change(database, job_id, state=state)
    with database.writing() as session, pytest.raises(NotContinued, match=state):
        jobs.continue_(session, job_id)


@pytest.mark.parametrize("job_id", [0, -1, 1, 1 << 53, 1 << 63, 10**30])
def test_an_unknown_job_is_named(database: Database, job_id: int) -> None:
    with database.reading() as session, pytest.raises(JobNotFound, match=str(job_id)):
        jobs.by_id(session, job_id)


def test_jobs_are_listed_the_newest_first(database: Database) -> None:
    ids = [asked(database, name) for name in ("a", "b", "a")]
    ids[2] = asked(database, "a", kind="evaluate")
    with database.reading() as session:
        assert [job.id for job in jobs.listing(session, limit=2)] == [ids[2], ids[1]]
        assert [job.id for job in jobs.listing(session, gallery="a", limit=9)] == [ids[2], ids[0]]


def test_a_deleted_gallery_leaves_its_jobs_behind(database: Database) -> None:
    with database.writing() as session:
        gallery = galleries.create(session, "photos")
    job_id = asked(database)
    with database.writing() as session:
        galleries.remove(session, gallery.id)
    assert read(database, job_id).gallery == "photos"
