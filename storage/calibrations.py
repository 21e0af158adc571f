"""Calibrations: how a matcher's margins become match probabilities in a gallery, one fit for each direction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from storage.db import Session
from storage.tables import CalibrationTable, in_utc, now


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
    """Keep a fit in place of the one that was there."""
    session.execute(
        delete(CalibrationTable).where(
            CalibrationTable.gallery_id == gallery_id,
            CalibrationTable.matcher == new.matcher,
            CalibrationTable.direction == new.direction,
        )
    )
    session.add(CalibrationTable(gallery_id=gallery_id, **vars(new)))
    session.flush()


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


def moment() -> datetime:
    """Say what time it is, for a fit that is new."""
    return now()


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
