"""Galleries: their names, their model, their revision, and the lease that makes one writer at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.engine import CursorResult

from storage.db import Session
from storage.errors import BadGalleryName, GalleryBusy, GalleryNotFound, LeaseLost, ModelMismatch
from storage.holders import LEASE_SECONDS, is_dead
from storage.tables import (
    BlockTable,
    CalibrationTable,
    EvaluationPageTable,
    EvaluationTable,
    GalleryTable,
    ItemTable,
    JobTable,
    JudgementTable,
    MetadataTable,
    PairTable,
    ShardTable,
    WordsTable,
    now,
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Gallery:
    """A gallery as the other rooms see it. `model` is None where only names and captions are searched."""

    id: int
    name: str
    model: str | None
    fingerprint: str | None
    dimension: int | None
    vectors: int | None
    revision: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class GallerySummary:
    """A line of the list of galleries; `items` counts images that can be found."""

    name: str
    items: int
    texts: int
    failed: int
    model: str | None
    revision: int
    sources: tuple[str, ...]


def check_name(name: str) -> None:
    """Raise BadGalleryName unless a name can stand in an address."""
    if not can_be_named(name):
        raise BadGalleryName(name)


def can_be_named(name: str) -> bool:
    """Say whether a gallery could have a name; one that could not need not be looked for."""
    return NAME.fullmatch(name) is not None


def create(session: Session, name: str) -> Gallery:
    """Make an empty gallery without a model."""
    check_name(name)
    row = GalleryTable(name=name, sources=[])
    session.add(row)
    session.flush()
    return _gallery(row)


def by_name(session: Session, name: str) -> Gallery:
    """Find a gallery or raise GalleryNotFound, which lists the names there are."""
    row = session.scalar(select(GalleryTable).where(GalleryTable.name == name)) if can_be_named(name) else None
    if row is None:
        known = session.scalars(select(GalleryTable.name).order_by(GalleryTable.name)).all()
        raise GalleryNotFound(name, list(known))
    return _gallery(row)


def by_id(session: Session, gallery_id: int) -> Gallery:
    """Read a gallery that is known to be there."""
    return _gallery(session.get_one(GalleryTable, gallery_id, populate_existing=True))


def by_source(session: Session, source: str) -> Gallery | None:
    """Find the gallery that was built from a folder."""
    rows = session.scalars(select(GalleryTable).order_by(GalleryTable.id)).all()
    return next((_gallery(row) for row in rows if source in row.sources), None)


def exists(session: Session, name: str) -> bool:
    """Say whether a gallery of that name is there."""
    return can_be_named(name) and session.scalar(select(GalleryTable.id).where(GalleryTable.name == name)) is not None


def models(session: Session) -> list[str]:
    """Name the models that galleries were built by, each once."""
    query = select(GalleryTable.model).where(GalleryTable.model.is_not(None)).distinct()
    return sorted(name for name in session.scalars(query) if name is not None)


def summaries(session: Session) -> list[GallerySummary]:
    """List all galleries by name, with counts."""
    counts = _counts(session)
    return [_summary(row, counts) for row in session.scalars(select(GalleryTable).order_by(GalleryTable.name))]


def summary(session: Session, gallery_id: int) -> GallerySummary:
    """Count what one gallery holds."""
    counts = _counts(session, ItemTable.gallery_id == gallery_id)
    return _summary(session.get_one(GalleryTable, gallery_id), counts)


def fix_model(
    session: Session, gallery: Gallery, *, model: str, fingerprint: str, dimension: int, vectors: int
) -> Gallery:
    """Give a gallery its model for good; a second, different one is a ModelMismatch."""
    if gallery.fingerprint == fingerprint:
        return gallery
    if gallery.model is not None:
        # The same name with other weights is another model: say so by showing the start of both fingerprints.
        same = gallery.model == model
        want = f"{gallery.model} ({(gallery.fingerprint or '')[:8]})" if same else gallery.model
        raise ModelMismatch(gallery.name, want, f"{model} ({fingerprint[:8]})" if same else model)
    row = session.get_one(GalleryTable, gallery.id)
    row.model, row.fingerprint, row.dimension, row.vectors = model, fingerprint, dimension, vectors
    session.flush()
    return _gallery(row)


def add_source(session: Session, gallery_id: int, source: str) -> None:
    """Remember a folder that the gallery is built from."""
    row = session.get_one(GalleryTable, gallery_id, with_for_update=True)
    if source not in row.sources:
        row.sources = [*row.sources, source]


def raise_revision(session: Session, gallery_id: int) -> None:
    """Publish: every search reads the revision, so from the commit on it sees the new state."""
    session.execute(
        update(GalleryTable).where(GalleryTable.id == gallery_id).values(revision=GalleryTable.revision + 1)
    )


def revision(session: Session, gallery_id: int) -> int:
    """Read the published revision."""
    return session.scalars(select(GalleryTable.revision).where(GalleryTable.id == gallery_id)).one()


def remove(session: Session, gallery_id: int) -> None:
    """Forget a gallery with everything that SQL knows of it but its jobs; pictures stay where they are."""
    session.execute(update(JobTable).where(JobTable.gallery_id == gallery_id).values(gallery_id=None))
    items = select(ItemTable.id).where(ItemTable.gallery_id == gallery_id)
    evaluations = select(EvaluationTable.id).where(EvaluationTable.gallery_id == gallery_id)
    session.execute(delete(WordsTable).where(WordsTable.item_id.in_(items)))
    session.execute(delete(MetadataTable).where(MetadataTable.item_id.in_(items)))
    session.execute(delete(EvaluationPageTable).where(EvaluationPageTable.evaluation_id.in_(evaluations)))
    for table in (
        PairTable,
        JudgementTable,
        ItemTable,
        ShardTable,
        BlockTable,
        EvaluationTable,
        CalibrationTable,
    ):
        session.execute(delete(table).where(table.gallery_id == gallery_id))
    session.execute(delete(GalleryTable).where(GalleryTable.id == gallery_id))


def acquire_lease(session: Session, gallery: Gallery, holder: str) -> None:
    """Become the gallery's writer, or raise GalleryBusy. The lease of a process that died on this host is free."""
    current, until = session.execute(
        select(GalleryTable.lease_holder, GalleryTable.lease_until).where(GalleryTable.id == gallery.id)
    ).one()
    free = [GalleryTable.lease_holder.is_(None), GalleryTable.lease_until < now()]
    if current is not None and is_dead(current):
        free.append(GalleryTable.lease_holder == current)
    if not _set_lease(session, gallery.id, holder, or_(*free)):
        raise GalleryBusy(gallery.name, until or now())


def renew_lease(session: Session, gallery: Gallery, holder: str) -> None:
    """Keep the lease for another term, or raise LeaseLost: then nothing may be written any more."""
    if not _set_lease(session, gallery.id, holder, GalleryTable.lease_holder == holder):
        raise LeaseLost(gallery.name)


def require_lease(session: Session, gallery: Gallery, holder: str) -> None:
    """Raise LeaseLost unless the writer still holds the lease."""
    current = session.scalars(select(GalleryTable.lease_holder).where(GalleryTable.id == gallery.id)).one()
    if current != holder:
        raise LeaseLost(gallery.name)


def release_lease(session: Session, gallery: Gallery, holder: str) -> None:
    """Let the next writer in."""
    session.execute(
        update(GalleryTable)
        .where(GalleryTable.id == gallery.id, GalleryTable.lease_holder == holder)
        .values(lease_holder=None, lease_until=None)
    )


def _set_lease(session: Session, gallery_id: int, holder: str, condition: object) -> bool:
    until = now() + timedelta(seconds=LEASE_SECONDS)
    done = session.execute(
        update(GalleryTable)
        .where(GalleryTable.id == gallery_id, condition)  # type: ignore[arg-type]
        .values(lease_holder=holder, lease_until=until)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(done, CursorResult)
    return done.rowcount == 1


def _gallery(row: GalleryTable) -> Gallery:
    return Gallery(
        id=row.id,
        name=row.name,
        model=row.model,
        fingerprint=row.fingerprint,
        dimension=row.dimension,
        vectors=row.vectors,
        revision=row.revision,
        sources=tuple(row.sources),
    )


def _counts(session: Session, *where: ColumnElement[bool]) -> dict[tuple[int, str, str], int]:
    """Count items by gallery, kind and state."""
    by = ItemTable.gallery_id, ItemTable.kind, ItemTable.state
    counted = select(*by, func.count()).where(*where).group_by(*by)
    return {(gallery_id, kind, state): n for gallery_id, kind, state, n in session.execute(counted)}


def _summary(row: GalleryTable, counts: Mapping[tuple[int, str, str], int]) -> GallerySummary:
    findable = "listed" if row.model is None else "embedded"
    return GallerySummary(
        name=row.name,
        items=counts.get((row.id, "image", findable), 0),
        texts=counts.get((row.id, "text", findable), 0),
        failed=counts.get((row.id, "image", "failed"), 0),
        model=row.model,
        revision=row.revision,
        sources=tuple(row.sources),
    )
