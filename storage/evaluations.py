"""Evaluations: stored facts about a snapshot, a model and settings, and the page of every query behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError

from storage.db import Session
from storage.errors import EvaluationBusy, EvaluationNotFound
from storage.tables import EvaluationPageTable, EvaluationTable, in_utc, now

RUNNING, DONE = "running", "done"
LARGEST_ID = (1 << 53) - 1
PAGES_AT_ONCE = 512


@dataclass(frozen=True)
class Evaluation:
    """A stored evaluation: `measures` by direction. What an older version did not keep is None."""

    id: int
    gallery_id: int
    revision: int
    model: str
    settings: dict[str, Any]
    measures: dict[str, Any]
    task: str
    state: str
    digest: str | None
    fingerprint: str | None
    matcher_fingerprint: str | None
    protocol: str | None
    versions: dict[str, Any] | None
    seconds: float | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class NewEvaluation:
    """What is known of an evaluation before it begins. `digest` is the same for what can be gone on with."""

    revision: int
    model: str
    settings: dict[str, Any]
    digest: str
    fingerprint: str | None
    matcher_fingerprint: str | None
    protocol: str | None
    versions: dict[str, Any]
    task: str = "retrieval"


@dataclass(frozen=True)
class Page:
    """What one query found: ranks of its first right item (None: not among the candidates), and its packed rows."""

    direction: str
    query_id: int
    fold: int
    before: int | None
    after: int | None
    first_milliseconds: float
    rerank_milliseconds: float
    page: bytes


def begin(session: Session, gallery_id: int, new: NewEvaluation) -> Evaluation:
    """Keep that an evaluation has begun."""
    row = EvaluationTable(gallery_id=gallery_id, measures={}, state=RUNNING, seconds=0.0, **vars(new))
    session.add(row)
    session.flush()
    return _evaluation(row)


def add_pages(session: Session, evaluation_id: int, pages: Sequence[Page], *, seconds: float) -> None:
    """Keep what some queries found, and that this took `seconds` more.

    Raises EvaluationBusy where a query of them is kept already, EvaluationNotFound where the evaluation is forgotten.
    """
    spent = EvaluationTable.seconds + seconds
    done = session.execute(update(EvaluationTable).where(EvaluationTable.id == evaluation_id).values(seconds=spent))
    assert isinstance(done, CursorResult)
    if not done.rowcount:
        raise EvaluationNotFound(evaluation_id)
    if pages:
        rows = [{"evaluation_id": evaluation_id, **vars(one)} for one in pages]
        try:
            session.execute(insert(EvaluationPageTable), rows)
        except IntegrityError as error:
            raise EvaluationBusy(evaluation_id) from error


def finish(session: Session, evaluation_id: int, measures: dict[str, Any]) -> Evaluation:
    """Keep what was measured: the evaluation is done. Raises EvaluationNotFound where it is forgotten."""
    row = session.get(EvaluationTable, evaluation_id)
    if row is None:
        raise EvaluationNotFound(evaluation_id)
    row.measures, row.state, row.finished_at = measures, DONE, now()
    session.flush()
    # As JSON gives it back, so that what was just measured looks like what was measured before.
    session.refresh(row)
    return _evaluation(row)


def unfinished(session: Session, gallery_id: int, digest: str) -> Evaluation | None:
    """Find the newest evaluation that can be gone on with."""
    query = select(EvaluationTable).where(
        EvaluationTable.gallery_id == gallery_id, EvaluationTable.digest == digest, EvaluationTable.state == RUNNING
    )
    row = session.scalars(query.order_by(EvaluationTable.id.desc()).limit(1)).first()
    return None if row is None else _evaluation(row)


def asked(session: Session, evaluation_id: int) -> dict[str, set[int]]:
    """Read which queries were asked already, by direction."""
    found: dict[str, set[int]] = {}
    columns = EvaluationPageTable.direction, EvaluationPageTable.query_id
    for direction, query_id in session.execute(
        select(*columns).where(EvaluationPageTable.evaluation_id == evaluation_id)
    ):
        found.setdefault(direction, set()).add(query_id)
    return found


def pages(session: Session, evaluation_id: int, direction: str) -> Iterator[Page]:
    """Read the pages of one direction by query id, some at a time: memory does not grow with their number."""
    table, last = EvaluationPageTable, 0
    columns = [getattr(table, name) for name in Page.__dataclass_fields__]
    while True:
        query = select(*columns).where(
            table.evaluation_id == evaluation_id, table.direction == direction, table.query_id > last
        )
        some = [Page(*row) for row in session.execute(query.order_by(table.query_id).limit(PAGES_AT_ONCE))]
        yield from some
        if len(some) < PAGES_AT_ONCE:
            return
        last = some[-1].query_id


def by_id(session: Session, evaluation_id: int) -> Evaluation:
    """Read an evaluation, or raise EvaluationNotFound."""
    row = session.get(EvaluationTable, evaluation_id) if 0 < evaluation_id <= LARGEST_ID else None
    if row is None:
        raise EvaluationNotFound(evaluation_id)
    return _evaluation(row)


def of_gallery(session: Session, gallery_id: int, *, unfinished: bool = False) -> list[Evaluation]:
    """List a gallery's evaluations, the newest first: those that are done, or `unfinished` ones too."""
    query = select(EvaluationTable).where(EvaluationTable.gallery_id == gallery_id)
    if not unfinished:
        query = query.where(EvaluationTable.state == DONE)
    return [_evaluation(row) for row in session.scalars(query.order_by(EvaluationTable.id.desc()))]


def remove(session: Session, evaluation_id: int) -> None:
    """Forget an evaluation with its pages."""
    session.execute(delete(EvaluationPageTable).where(EvaluationPageTable.evaluation_id == evaluation_id))
    session.execute(delete(EvaluationTable).where(EvaluationTable.id == evaluation_id))


def _evaluation(row: EvaluationTable) -> Evaluation:
    known = {name: getattr(row, name) for name in Evaluation.__dataclass_fields__}
    known["created_at"] = in_utc(row.created_at)
    known["finished_at"] = None if row.finished_at is None else in_utc(row.finished_at)
    return Evaluation(**known)
