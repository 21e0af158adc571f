"""Judgements: what a gallery's matcher said of texts about pictures, and what a review decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.engine import CursorResult

from storage.db import Session
from storage.items import text_hash
from storage.tables import JudgementTable

GIVEN = ""
"""In place of a captioner: nobody wrote the text, it came with the picture."""


@dataclass(frozen=True)
class Judgement:
    """One text about one picture: who wrote it (`GIVEN` for none), how likely it matches, whether a person keeps it."""

    image_id: int
    text: str
    captioner: str
    match_probability: float
    kept: bool | None = None


def of_gallery(session: Session, gallery_id: int) -> list[Judgement]:
    """Read all judgements of a gallery, by picture and text."""
    columns = (
        JudgementTable.image_id,
        JudgementTable.text,
        JudgementTable.captioner,
        JudgementTable.match_probability,
        JudgementTable.kept,
    )
    query = select(*columns).where(JudgementTable.gallery_id == gallery_id)
    ordered = query.order_by(JudgementTable.image_id, JudgementTable.text_hash, JudgementTable.captioner)
    return [Judgement(*row) for row in session.execute(ordered)]


def store(session: Session, gallery_id: int, new: Sequence[Judgement]) -> None:
    """Keep judgements that are not there yet."""
    rows = [
        {
            "image_id": one.image_id,
            "text_hash": text_hash(one.text),
            "captioner": one.captioner,
            "gallery_id": gallery_id,
            "text": one.text,
            "match_probability": one.match_probability,
            "kept": one.kept,
        }
        for one in new
    ]
    if rows:
        session.execute(insert(JudgementTable), rows)


def review(session: Session, gallery_id: int, image_id: int, text: str, *, is_given: bool, kept: bool | None) -> bool:
    """Note what a person decided; False where there is no such judgement."""
    where = [
        JudgementTable.image_id == image_id,
        JudgementTable.text_hash == text_hash(text),
        JudgementTable.gallery_id == gallery_id,
        JudgementTable.captioner == GIVEN if is_given else JudgementTable.captioner != GIVEN,
    ]
    done = session.execute(update(JudgementTable).where(*where).values(kept=kept))
    assert isinstance(done, CursorResult)
    return done.rowcount > 0
