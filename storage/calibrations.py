"""Calibrations: how a matcher's margins become match probabilities in a gallery, one fit for each direction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError

from storage.db import Session
from storage.tables import CalibrationTable, in_utc


@dataclass(frozen=True)
class Calibration:
    """A stored fit: of which matcher (its fingerprint tells its weights), for which direction, and what was measured.

    `source` says what it was fitted on: the gallery's "pairs", or "captions" that a model wrote for the purpose.
    """

    matcher: str
    fingerprint: str
    direction: str
    revision: int
    source: str
    method: str
    parameters: dict[str, Any]
    measured: dict[str, Any]
    created_at: datetime


def store(session: Session, gallery_id: int, new: Calibration) -> None:
    """Keep a fit in place of the one that was there, if there was one."""
    if _replace(session, gallery_id, new):
        return
    try:
        with session.begin_nested():
            session.execute(insert(CalibrationTable).values(gallery_id=gallery_id, **vars(new)))
    except IntegrityError:  # another process kept one in the same moment; the last one stays
        _replace(session, gallery_id, new)


def find(session: Session, gallery_id: int, *, matcher: str, fingerprint: str, direction: str) -> Calibration | None:
    """Find the fit of a matcher; one of other weights is none."""
    row = session.scalar(
        select(CalibrationTable).where(
            CalibrationTable.gallery_id == gallery_id,
            CalibrationTable.matcher == matcher,
            CalibrationTable.fingerprint == fingerprint,
            CalibrationTable.direction == direction,
        )
    )
    return None if row is None else _calibration(row)


def _replace(session: Session, gallery_id: int, new: Calibration) -> bool:
    """Put a fit in the place of an older one; False where there is none."""
    where = (
        CalibrationTable.gallery_id == gallery_id,
        CalibrationTable.matcher == new.matcher,
        CalibrationTable.direction == new.direction,
    )
    done = session.execute(update(CalibrationTable).where(*where).values(**vars(new)))
    assert isinstance(done, CursorResult)
    return done.rowcount > 0


def _calibration(row: CalibrationTable) -> Calibration:
    return Calibration(
        matcher=row.matcher,
        fingerprint=row.fingerprint,
        direction=row.direction,
        revision=row.revision,
        source=row.source,
        method=row.method,
        parameters=row.parameters,
        measured=row.measured,
        created_at=in_utc(row.created_at),
    )
