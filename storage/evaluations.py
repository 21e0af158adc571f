"""Evaluations: stored facts about a snapshot, a model and settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from storage.db import Session
from storage.tables import EvaluationTable, in_utc


@dataclass(frozen=True)
class Evaluation:
    """A stored evaluation: `measures` by direction."""

    id: int
    revision: int
    model: str
    settings: dict[str, Any]
    measures: dict[str, Any]
    created_at: datetime


def store(
    session: Session, gallery_id: int, *, revision: int, model: str, settings: dict[str, Any], measures: dict[str, Any]
) -> Evaluation:
    """Keep what an evaluation measured."""
    row = EvaluationTable(gallery_id=gallery_id, revision=revision, model=model, settings=settings, measures=measures)
    session.add(row)
    session.flush()
    # As JSON gives it back, so that what was just measured looks like what was measured before.
    session.refresh(row)
    return _evaluation(row)


def of_gallery(session: Session, gallery_id: int) -> list[Evaluation]:
    """List a gallery's evaluations, the newest first."""
    query = select(EvaluationTable).where(EvaluationTable.gallery_id == gallery_id)
    return [_evaluation(row) for row in session.scalars(query.order_by(EvaluationTable.id.desc()))]


def _evaluation(row: EvaluationTable) -> Evaluation:
    return Evaluation(row.id, row.revision, row.model, row.settings, row.measures, in_utc(row.created_at))
