"""Evaluations: stored facts about a snapshot, a model and settings."""

from __future__ import annotations

from typing import Any

from storage.db import Session
from storage.tables import EvaluationTable


def store(
    session: Session, gallery_id: int, *, revision: int, model: str, settings: dict[str, Any], measures: dict[str, Any]
) -> int:
    """Keep what an evaluation measured and give its id."""
    row = EvaluationTable(gallery_id=gallery_id, revision=revision, model=model, settings=settings, measures=measures)
    session.add(row)
    session.flush()
    return row.id
