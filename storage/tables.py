"""The SQL schema: galleries, items, metadata, pairs, judgements, blocks, shards, jobs, evaluations, calibrations.

SQL holds the truth.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Identity = BigInteger().with_variant(Integer, "sqlite")
"""64-bit on every database; SQLite autoincrements only a column whose type is spelled INTEGER."""

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """Say what time it is, in UTC."""
    return datetime.now(UTC)


def in_utc(moment: datetime) -> datetime:
    """Give a moment the zone in which it was stored: SQLite forgets it."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Table(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, datetime: DateTime(timezone=True)}  # noqa: RUF012


class GalleryTable(Table):
    """A named set of items, all embedded by one model. A gallery without a model is searched by names and captions."""

    __tablename__ = "galleries"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    model: Mapped[str | None] = mapped_column(String(512))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    dimension: Mapped[int | None] = mapped_column(Integer)
    vectors: Mapped[int | None] = mapped_column(Integer)
    precision: Mapped[str] = mapped_column(String(16), default="float32")
    sources: Mapped[list[str]] = mapped_column(default=list)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_holder: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class BlockTable(Table):
    """An append-only file of vectors; `rows` is the end that was acknowledged, bytes behind it do not count."""

    __tablename__ = "blocks"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    path: Mapped[str] = mapped_column(Text)
    rows: Mapped[int] = mapped_column(BigInteger, default=0)


class ItemTable(Table):
    """One image file, video file or text of a gallery.

    `state` is pending (announced, not embedded), embedded, listed (in a gallery without a model), failed
    (with `reason`) or deleted (a tombstone: ids are never reused). `row` counts items in the block, not vectors.
    A changed file is pending beside its old item until both change places in one transaction.
    """

    __tablename__ = "items"
    __table_args__ = (
        Index(
            "uq_items_living_uri",
            "gallery_id",
            "kind",
            "uri_hash",
            unique=True,
            sqlite_where=text("state NOT IN ('deleted', 'pending')"),
            postgresql_where=text("state NOT IN ('deleted', 'pending')"),
        ),
        Index("ix_items_uri_hash", "uri_hash"),
        Index("ix_items_gallery_id_content_hash", "gallery_id", "content_hash"),
        Index("ix_items_block_id_row", "block_id", "row"),
        # A page of a gallery of 100,000 items: 60 ms without, 1 ms with it; counting them: 170 ms and 26 ms.
        Index("ix_items_gallery_id_kind_state_id", "gallery_id", "kind", "state", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"))
    kind: Mapped[str] = mapped_column(String(8))
    uri: Mapped[str] = mapped_column(Text)
    uri_hash: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    mtime_ns: Mapped[int | None] = mapped_column(BigInteger)
    content_hash: Mapped[str | None] = mapped_column(String(64))
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    text: Mapped[str | None] = mapped_column(Text)
    block_id: Mapped[int | None] = mapped_column(ForeignKey("blocks.id"))
    row: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)


class MetadataTable(Table):
    """What a dataset says of an item beside its texts: the split it belongs to, and its other columns as JSON."""

    __tablename__ = "item_metadata"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True, autoincrement=False)
    split: Mapped[str | None] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]


class PairTable(Table):
    """The stored fact that a text describes an image: a benchmark's ground truth.

    `standing` is given (captions.jsonl says so), dropped (given, but a review threw it out) or synthetic (a model
    wrote the text).
    """

    __tablename__ = "pairs"

    text_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True, index=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    standing: Mapped[str] = mapped_column(String(16), server_default="given")


class JudgementTable(Table):
    """How likely a gallery's matcher finds it that a text describes a picture, and what a review said of it.

    `captioner` names the model that wrote the text and is empty for a given one. Texts that were not believed are
    here too, so that no picture is captioned twice. `kept` is None until a person decides.
    """

    __tablename__ = "judgements"

    image_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    text_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    captioner: Mapped[str] = mapped_column(String(512), primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    text: Mapped[str] = mapped_column(Text)
    match_probability: Mapped[float]
    kept: Mapped[bool | None]


class WordsTable(Table):
    """What full-text search reads of an item in a gallery without a model: its name and its captions."""

    __tablename__ = "words"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True, autoincrement=False)
    body: Mapped[str] = mapped_column(Text)


class ShardTable(Table):
    """One immutable FAISS file over the block rows [start, stop) of one kind; rebuildable, named by this row."""

    __tablename__ = "shards"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    block_id: Mapped[int] = mapped_column(ForeignKey("blocks.id"))
    start: Mapped[int] = mapped_column(BigInteger)
    stop: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(BigInteger)
    index_key: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    measured_recall: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)


class JobTable(Table):
    """A long piece of work, from the moment it is asked for, and how far it came.

    `state` is waiting, running, done, failed (with `error`), stopped (a person did) or killed. `request` says what is
    to be done; a job that a command line runs has none, for no other process goes on with it. `gallery_id` is empty
    until the job has made its gallery. `done` of `total` steps of `stage` were durable at `progressed_at`. `holder`
    names the process that runs the job, as a gallery's lease does; `deaths` counts how many died over it in a row.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state", "state"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    gallery_id: Mapped[int | None] = mapped_column(ForeignKey("galleries.id"), index=True)
    gallery: Mapped[str | None] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    request: Mapped[dict[str, Any] | None]
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)
    stage: Mapped[str | None] = mapped_column(String(32))
    done: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    total: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    stage_started_at: Mapped[datetime | None]
    progressed_at: Mapped[datetime | None]
    cancel_wanted: Mapped[bool] = mapped_column(server_default=false(), default=False)
    holder: Mapped[str | None] = mapped_column(String(128))
    holder_until: Mapped[datetime | None]
    deaths: Mapped[int] = mapped_column(Integer, server_default="0", default=0)
    created_at: Mapped[datetime | None] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class EvaluationTable(Table):
    """The stored fact: this snapshot with this model and these settings scored so.

    `state` is running until every query was asked: such a run can go on. `digest` names what is measured and how, so
    that a run is found again. `measures` are empty before it is done. What an older version did not keep is empty.
    """

    __tablename__ = "evaluations"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    revision: Mapped[int] = mapped_column(BigInteger)
    model: Mapped[str] = mapped_column(String(512))
    settings: Mapped[dict[str, Any]]
    measures: Mapped[dict[str, Any]]
    task: Mapped[str] = mapped_column(String(16), server_default="retrieval", default="retrieval")
    state: Mapped[str] = mapped_column(String(16), server_default="done", default="done")
    digest: Mapped[str | None] = mapped_column(String(64))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    matcher_fingerprint: Mapped[str | None] = mapped_column(String(64))
    protocol: Mapped[str | None] = mapped_column(String(32))
    versions: Mapped[dict[str, Any] | None]
    seconds: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class EvaluationPageTable(Table):
    """What one query of an evaluation found.

    `before` and `after` are the ranks of the first right item, by the first stage and after reranking; empty where it
    was not among the candidates, or nothing was reranked. `page` holds every candidate with its scores, as
    `retrieval.evaluation.pages` packs them. The milliseconds are this query's share of what its batch took.
    """

    __tablename__ = "evaluation_pages"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    direction: Mapped[str] = mapped_column(String(16), primary_key=True)
    query_id: Mapped[int] = mapped_column(Identity, primary_key=True, autoincrement=False)
    fold: Mapped[int] = mapped_column(Integer)
    before: Mapped[int | None] = mapped_column(Integer)
    after: Mapped[int | None] = mapped_column(Integer)
    first_milliseconds: Mapped[float]
    rerank_milliseconds: Mapped[float]
    page: Mapped[bytes] = mapped_column(LargeBinary)


class CalibrationTable(Table):
    """How a matcher's logits become match probabilities in one gallery, fitted for one direction of search.

    `fingerprint` is the matcher's: other weights make the fit void. `parameters` are the fit itself, `measured` what
    was found out about it, by queries that it was not fitted on.
    """

    __tablename__ = "calibrations"
    __table_args__ = (
        UniqueConstraint("gallery_id", "matcher", "direction", name="uq_calibrations_gallery_id_matcher_direction"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    matcher: Mapped[str] = mapped_column(String(512))
    fingerprint: Mapped[str] = mapped_column(String(64))
    direction: Mapped[str] = mapped_column(String(16))
    revision: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(String(16))
    method: Mapped[str] = mapped_column(String(16))
    parameters: Mapped[dict[str, Any]]
    measured: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
