"""Items and pairs: announced before they are embedded, published with their vectors, buried as tombstones."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.engine import CursorResult

from storage.db import Session
from storage.errors import ItemNotFound
from storage.tables import BlockTable, ItemTable, JudgementTable, MetadataTable, PairTable, WordsTable, in_utc

T = TypeVar("T")

MANY = 500
"""How many ids go into one statement: SQLite and PostgreSQL both limit parameters."""

FIRST = 2000
"""How many texts are looked at for examples: of 500,000 it took a second to read all, and takes milliseconds now."""

LARGEST_ID = (1 << 53) - 1
"""The largest whole number that every JSON reader keeps."""

FINDABLE = ("embedded", "listed")

GIVEN, DROPPED, SYNTHETIC = "given", "dropped", "synthetic"
"""What a pair can be: see PairTable."""
WRITTEN_BY = "model:"
"""How the source of a text begins that a model wrote; a folder's begins with a slash."""


@dataclass(frozen=True)
class Item:
    """An item as the other rooms see it."""

    id: int
    gallery_id: int
    kind: str
    uri: str
    source: str
    state: str
    reason: str | None
    size: int | None
    mtime_ns: int | None
    content_hash: str | None
    width: int | None
    height: int | None
    text: str | None
    block_id: int | None
    row: int | None

    @property
    def is_synthetic(self) -> bool:
        """Whether a model wrote this text."""
        return self.source.startswith(WRITTEN_BY)


@dataclass(frozen=True)
class NewItem:
    """What is known of a file or a text before it is embedded."""

    kind: str
    uri: str
    source: str
    size: int | None = None
    mtime_ns: int | None = None
    content_hash: str | None = None
    width: int | None = None
    height: int | None = None
    text: str | None = None
    words: str = ""


def by_id(session: Session, item_id: int) -> Item:
    """Read an item that can be found, or raise ItemNotFound: a file that failed is nobody's to look at."""
    found = by_ids(session, [item_id] if 0 < item_id <= LARGEST_ID else []).get(item_id)
    if found is None or found.state not in FINDABLE:
        raise ItemNotFound(item_id)
    return found


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, Item]:
    """Read items by id; one that is gone is left out."""
    found: dict[int, Item] = {}
    for some in _some(ids):
        query = _select().where(ItemTable.id.in_(some), ItemTable.state != "deleted")
        found.update((item.id, item) for item in _read(session, query))
    return found


def living(session: Session, gallery_id: int, kind: str, source: str) -> list[Item]:
    """Read every item of a source that is not deleted, whatever its state."""
    query = _select().where(
        ItemTable.gallery_id == gallery_id,
        ItemTable.kind == kind,
        ItemTable.source == source,
        ItemTable.state != "deleted",
    )
    return _read(session, query.order_by(ItemTable.id))


def embedded(session: Session, gallery_id: int, kind: str) -> list[Item]:
    """Read all items of a kind that have vectors, by id."""
    query = _select().where(ItemTable.gallery_id == gallery_id, ItemTable.kind == kind, ItemTable.state == "embedded")
    return _read(session, query.order_by(ItemTable.id))


def failed(session: Session, gallery_id: int) -> list[Item]:
    """List what could not be read, with reasons, by name."""
    query = _select().where(ItemTable.gallery_id == gallery_id, ItemTable.state == "failed")
    return _read(session, query.order_by(ItemTable.uri))


def page(session: Session, gallery_id: int, kind: str, *, after: int, limit: int) -> list[Item]:
    """Read the items of a kind that can be found, by id, behind the id `after`."""
    query = _select().where(
        ItemTable.gallery_id == gallery_id,
        ItemTable.kind == kind,
        ItemTable.state.in_(FINDABLE),
        ItemTable.id > min(after, LARGEST_ID),
    )
    return _read(session, query.order_by(ItemTable.id).limit(limit))


def created_at(session: Session, item_id: int) -> datetime:
    """Read when an item was first seen, in UTC."""
    return in_utc(session.scalars(select(ItemTable.created_at).where(ItemTable.id == item_id)).one())


def count_pairs(session: Session, gallery_id: int) -> int:
    """Count the given pairs of a gallery."""
    query = select(func.count()).select_from(PairTable)
    return session.scalars(query.where(PairTable.gallery_id == gallery_id, PairTable.standing == GIVEN)).one()


def short_texts(session: Session, gallery_id: int, *, most: int, count: int) -> list[str]:
    """Choose some given texts of at most so many characters, spread over the gallery's first; the same every time."""
    first: list[tuple[int, str, str | None]] = []
    for state in FINDABLE:  # one at a time: so the index gives them in order, and no others are read
        query = select(ItemTable.id, ItemTable.source, ItemTable.text).where(
            ItemTable.gallery_id == gallery_id, ItemTable.kind == "text", ItemTable.state == state
        )
        first += [(i, source, text) for i, source, text in session.execute(query.order_by(ItemTable.id).limit(FIRST))]
    given = [text or "" for _, source, text in sorted(first) if not source.startswith(WRITTEN_BY)]
    short = [text for text in given if len(text) <= most]
    return [short[place * len(short) // count] for place in range(count)] if len(short) > count else short


def by_uri(session: Session, uri: str) -> Item | None:
    """Find the first living item of a file name in any gallery."""
    query = _select().where(ItemTable.uri_hash == uri_hash(uri), ItemTable.state.in_(FINDABLE))
    return next(iter(_read(session, query.order_by(ItemTable.id).limit(1))), None)


def embedded_like(session: Session, gallery_id: int, kind: str, hashes: Collection[str]) -> dict[str, Item]:
    """Find for content hashes an item whose vector can be reused; a deleted item's vector is still there."""
    found: dict[str, Item] = {}
    for some in _some(hashes):
        query = _select().where(
            ItemTable.gallery_id == gallery_id,
            ItemTable.kind == kind,
            ItemTable.content_hash.in_(some),
            ItemTable.row.is_not(None),
        )
        found.update((item.content_hash or "", item) for item in _read(session, query))
    return found


def announce(session: Session, gallery_id: int, new: Sequence[NewItem]) -> list[int]:
    """Insert items as pending and give their ids, in order."""
    if not new:
        return []
    rows = [_columns(item) | {"gallery_id": gallery_id, "state": "pending"} for item in new]
    statement = insert(ItemTable).returning(ItemTable.id, sort_by_parameter_order=True)
    ids = list(session.scalars(statement, rows))
    words = [{"item_id": i, "body": item.words} for i, item in zip(ids, new, strict=True) if item.words]
    if words:
        session.execute(insert(WordsTable), words)
    return ids


def publish_embedded(session: Session, block_id: int, first_row: int, ids: Sequence[int]) -> None:
    """Say that the vectors of items lie in a block from `first_row` on, and move the block's end behind them."""
    rows = [
        {"id": item_id, "state": "embedded", "block_id": block_id, "row": first_row + i, "reason": None}
        for i, item_id in enumerate(ids)
    ]
    session.execute(update(ItemTable), rows)
    session.execute(update(BlockTable).where(BlockTable.id == block_id).values(rows=first_row + len(ids)))


def publish_listed(session: Session, ids: Sequence[int]) -> None:
    """Let items of a gallery without a model be found by their words."""
    session.execute(update(ItemTable), [{"id": i, "state": "listed", "reason": None} for i in ids])


def fail(session: Session, gallery_id: int, new: NewItem, reason: str) -> None:
    """Keep a file that could not be read, with its reason."""
    values = _columns(new) | {"gallery_id": gallery_id, "state": "failed", "reason": reason}
    session.execute(insert(ItemTable), [values])


def touch(session: Session, item_id: int, *, uri: str, size: int, mtime_ns: int) -> None:
    """Follow a file that was renamed or touched while its content stayed."""
    values = {"uri": uri, "uri_hash": uri_hash(uri), "size": size, "mtime_ns": mtime_ns}
    session.execute(update(ItemTable).where(ItemTable.id == item_id).values(**values))


def bury(session: Session, ids: Collection[int]) -> None:
    """Delete items for good: tombstones keep the ids; pairs, judgements, words and metadata go.

    With the last picture that it was written of, a synthetic text goes too.
    """
    for some in _some(ids):
        written = select(PairTable.text_id).where(PairTable.image_id.in_(some), PairTable.standing == SYNTHETIC)
        texts = set(session.scalars(written))
        session.execute(delete(PairTable).where(PairTable.text_id.in_(some) | PairTable.image_id.in_(some)))
        session.execute(delete(JudgementTable).where(JudgementTable.image_id.in_(some)))
        session.execute(delete(WordsTable).where(WordsTable.item_id.in_(some)))
        session.execute(delete(MetadataTable).where(MetadataTable.item_id.in_(some)))
        session.execute(update(ItemTable).where(ItemTable.id.in_(some)).values(state="deleted"))
        bury_unpaired(session, texts)


def bury_unpaired(session: Session, ids: Collection[int]) -> None:
    """Delete those of some texts that describe no picture any more."""
    for some in _some(ids):
        paired = set(session.scalars(select(PairTable.text_id).where(PairTable.text_id.in_(some))))
        bury(session, [text_id for text_id in some if text_id not in paired])


def forget_pending(session: Session, gallery_id: int) -> int:
    """Drop what a killed run announced and never embedded; it was never acknowledged."""
    pending = select(ItemTable.id).where(ItemTable.gallery_id == gallery_id, ItemTable.state == "pending")
    session.execute(delete(WordsTable).where(WordsTable.item_id.in_(pending)))
    session.execute(delete(MetadataTable).where(MetadataTable.item_id.in_(pending)))
    done = session.execute(delete(ItemTable).where(ItemTable.gallery_id == gallery_id, ItemTable.state == "pending"))
    assert isinstance(done, CursorResult)
    return done.rowcount


def pairs_of_source(session: Session, gallery_id: int, source: str) -> set[tuple[int, int]]:
    """Read the pairs (text id, image id) of a source's texts."""
    query = (
        select(PairTable.text_id, PairTable.image_id)
        .join(ItemTable, ItemTable.id == PairTable.text_id)
        .where(PairTable.gallery_id == gallery_id, ItemTable.source == source)
    )
    return {(text_id, image_id) for text_id, image_id in session.execute(query)}


def set_pairs(session: Session, gallery_id: int, source: str, wanted: set[tuple[int, int]]) -> None:
    """Make the pairs (text id, image id) of a source's texts exactly these; what a review threw out stays dropped."""
    there = pairs_of_source(session, gallery_id, source)
    for text_id, image_id in there - wanted:
        session.execute(delete(PairTable).where(PairTable.text_id == text_id, PairTable.image_id == image_id))
    dropped = _thrown_out(session, gallery_id, source) if wanted - there else set()
    new = [
        {"text_id": t, "image_id": i, "gallery_id": gallery_id, "standing": DROPPED if (t, i) in dropped else GIVEN}
        for t, i in sorted(wanted - there)
    ]
    if new:
        session.execute(insert(PairTable), new)


def _thrown_out(session: Session, gallery_id: int, source: str) -> set[tuple[int, int]]:
    """Find the pairs (text id, image id) of a source's texts that a review threw out, stored or not."""
    query = (
        select(ItemTable.id, JudgementTable.image_id)
        .join(JudgementTable, JudgementTable.text_hash == ItemTable.content_hash)
        .where(
            ItemTable.gallery_id == gallery_id,
            ItemTable.kind == "text",
            ItemTable.source == source,
            JudgementTable.gallery_id == gallery_id,
            JudgementTable.captioner == "",  # nobody's: the text was given
            JudgementTable.kept.is_(False),
        )
    )
    return {(text_id, image_id) for text_id, image_id in session.execute(query)}


def pairs(session: Session, gallery_id: int, standings: Collection[str] = (GIVEN,)) -> list[tuple[int, int]]:
    """Read the pairs (text id, image id) of a gallery, sorted: the given ones, or those of some standings."""
    query = select(PairTable.text_id, PairTable.image_id).where(
        PairTable.gallery_id == gallery_id, PairTable.standing.in_(standings)
    )
    return [(t, i) for t, i in session.execute(query.order_by(PairTable.text_id, PairTable.image_id))]


def add_synthetic_pairs(session: Session, gallery_id: int, new: Iterable[tuple[int, int]]) -> None:
    """Store pairs (text id, image id) whose texts a model wrote."""
    rows = [{"text_id": t, "image_id": i, "gallery_id": gallery_id, "standing": SYNTHETIC} for t, i in new]
    if rows:
        session.execute(insert(PairTable), rows)


def remove_pairs(session: Session, gone: Collection[tuple[int, int]]) -> None:
    """Forget pairs (text id, image id), and the texts that describe no picture any more."""
    for text_id, image_id in gone:
        session.execute(delete(PairTable).where(PairTable.text_id == text_id, PairTable.image_id == image_id))
    bury_unpaired(session, {text_id for text_id, _ in gone})


def set_standing(session: Session, changed: Iterable[tuple[int, int]], standing: str) -> None:
    """Give pairs (text id, image id) another standing."""
    for text_id, image_id in changed:
        where = PairTable.text_id == text_id, PairTable.image_id == image_id
        session.execute(update(PairTable).where(*where).values(standing=standing))


def set_words(session: Session, bodies: dict[int, str]) -> None:
    """Replace what full-text search reads of items."""
    for some in _some(bodies):
        session.execute(delete(WordsTable).where(WordsTable.item_id.in_(some)))
    if bodies:
        session.execute(insert(WordsTable), [{"item_id": i, "body": body} for i, body in bodies.items()])


def set_metadata(session: Session, rows: dict[int, tuple[str | None, dict[str, Any]]]) -> None:
    """Replace what is known of items beside their texts: the split they belong to, and other columns."""
    for some in _some(rows):
        session.execute(delete(MetadataTable).where(MetadataTable.item_id.in_(some)))
    if rows:
        new = [{"item_id": i, "split": split, "body": body} for i, (split, body) in rows.items()]
        session.execute(insert(MetadataTable), new)


def metadata(session: Session, gallery_id: int) -> dict[int, tuple[str | None, dict[str, Any]]]:
    """Read split and other columns of a gallery's items; those of which nothing is known are left out."""
    query = select(MetadataTable.item_id, MetadataTable.split, MetadataTable.body).join(
        ItemTable, ItemTable.id == MetadataTable.item_id
    )
    rows = session.execute(query.where(ItemTable.gallery_id == gallery_id))
    return {row.item_id: (row.split, row.body) for row in rows}


def metadata_of(session: Session, item_id: int) -> tuple[str | None, dict[str, Any]]:
    """Read split and other columns of one item: None and nothing where nothing is known."""
    known = session.get(MetadataTable, item_id)
    return (None, {}) if known is None else (known.split, known.body)


def words(session: Session, gallery_id: int) -> dict[int, str]:
    """Read what full-text search reads of a gallery's items."""
    query = select(WordsTable.item_id, WordsTable.body).join(ItemTable, ItemTable.id == WordsTable.item_id)
    return {row.item_id: row.body for row in session.execute(query.where(ItemTable.gallery_id == gallery_id))}


def open_block(session: Session, gallery_id: int, kind: str, *, room_for: int, limit: int) -> tuple[int, str]:
    """Give id and path of the block to append to; a full one is followed by a new one."""
    query = select(BlockTable).where(BlockTable.gallery_id == gallery_id, BlockTable.kind == kind)
    block = session.scalars(query.order_by(BlockTable.id.desc()).limit(1)).first()
    if block is None or block.rows + room_for > limit:
        block = BlockTable(gallery_id=gallery_id, kind=kind, path="", rows=0)
        session.add(block)
        session.flush()
        block.path = f"gallery-{gallery_id}/{kind}-{block.id}.f32"
        session.flush()
    return block.id, block.path


def block_path(session: Session, block_id: int) -> str:
    """Read where a block's file lies, below the data folder."""
    return session.get_one(BlockTable, block_id).path


def block_end(session: Session, block_id: int) -> int:
    """Read how many rows of a block were acknowledged."""
    return session.get_one(BlockTable, block_id).rows


def _some(values: Iterable[T]) -> Iterator[list[T]]:
    """Cut values into lists that fit into one statement."""
    waiting = iter(values)
    while some := list(islice(waiting, MANY)):
        yield some


def uri_hash(uri: str) -> str:
    """Digest a name for the index that keeps names unique: PostgreSQL does not index long texts themselves."""
    return hashlib.sha256(uri.encode()).hexdigest()


def text_hash(text: str) -> str:
    """Digest a text: its content hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _select() -> Select[Any]:
    """Begin a query for items. Columns, not objects of the table: a page reads many and changes none."""
    return select(*(getattr(ItemTable, column.name) for column in fields(Item)))


def _read(session: Session, query: Select[Any]) -> list[Item]:
    return [Item(*row) for row in session.execute(query)]


def _columns(item: NewItem) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "uri": item.uri,
        "uri_hash": uri_hash(item.uri),
        "source": item.source,
        "size": item.size,
        "mtime_ns": item.mtime_ns,
        "content_hash": item.content_hash,
        "width": item.width,
        "height": item.height,
        "text": item.text,
    }
