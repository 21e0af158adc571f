"""The order of writes that makes an index run safe to kill at any byte.

Items are announced (pending), vectors are appended to a block and synced, and one transaction publishes both. What was
published stays; what was not is done again by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from storage import galleries, items
from storage.db import Database, Session
from storage.galleries import Gallery
from storage.items import Item, NewItem
from storage.snapshots import Snapshots

Float32 = NDArray[np.float32]

BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class Batch:
    """What changes together: new items, items they replace, files that failed, and items whose file moved.

    `describes` says for each new text that a model wrote which pictures it was written of.
    """

    kind: str
    new: Sequence[NewItem]
    replaced: Sequence[int] = ()
    failed: Sequence[tuple[NewItem, str]] = ()
    moved: Sequence[tuple[int, NewItem]] = field(default=())
    describes: Sequence[Collection[int]] = ()


@dataclass(frozen=True)
class Publisher:
    """The writer of one gallery, for as long as it holds the lease."""

    database: Database
    snapshots: Snapshots
    gallery: Gallery
    holder: str

    def publish(self, batch: Batch, embed: Callable[[], Float32] | None) -> None:
        """Bring a batch from files to searchable items.

        `embed` gives `float32 [n, v, d]` for the n new items; without one they can be found by their words alone.
        """
        with self.database.writing() as session:
            galleries.renew_lease(session, self.gallery, self.holder)
            for item_id, now in batch.moved:
                items.touch(session, item_id, uri=now.uri, size=now.size or 0, mtime_ns=now.mtime_ns or 0)
            ids = items.announce(session, self.gallery.id, batch.new)
        if embed is None or not ids:
            with self.publishing() as session:
                self._settle(session, batch)
                items.publish_listed(session, ids)
            return
        self._append_and_publish(batch, ids, embed())

    @contextmanager
    def publishing(self) -> Iterator[Session]:
        """Open the transaction that publishes: it fails when the lease is lost, and raises the revision."""
        with self.database.writing() as session:
            galleries.renew_lease(session, self.gallery, self.holder)
            yield session
            galleries.raise_revision(session, self.gallery.id)

    def stored_vector(self, item: Item) -> Float32:
        """Read the vectors of an embedded item, living or deleted: `float32 [v, d]`."""
        assert item.block_id is not None
        assert item.row is not None
        with self.database.reading() as session:
            path = items.block_path(session, item.block_id)
        row: Float32 = self.snapshots.block(self.gallery, item.kind, path).read(end=item.row + 1)[item.row]
        return row

    def seal(self) -> None:
        """Move the delta into shards where it is large enough."""
        self.snapshots.seal(self.database, self.gallery, self.holder)

    def repair(self) -> None:
        """Drop what a killed run announced or left behind, and write damaged shards again."""
        with self.database.writing() as session:
            items.forget_pending(session, self.gallery.id)
        self.snapshots.repair(self.database, self.gallery, self.holder)

    def _append_and_publish(self, batch: Batch, ids: Sequence[int], embeddings: Float32) -> None:
        with self.database.writing() as session:
            block_id, path = items.open_block(session, self.gallery.id, batch.kind, room_for=len(ids), limit=BLOCK_ROWS)
        block = self.snapshots.block(self.gallery, batch.kind, path)
        with block.locked():
            with self.database.reading() as session:
                galleries.require_lease(session, self.gallery, self.holder)
                end = items.block_end(session, block_id)
            block.append(embeddings, end=end)
            with self.publishing() as session:
                self._settle(session, batch)
                items.publish_embedded(session, block_id, end, ids)
                described = zip(ids, batch.describes, strict=False)
                new = [(text_id, image_id) for text_id, images in described for image_id in sorted(images)]
                items.add_synthetic_pairs(session, self.gallery.id, new)

    def _settle(self, session: Session, batch: Batch) -> None:
        """Bury what the batch replaces and keep what failed; before the new items, for they may share file names."""
        items.bury(session, batch.replaced)
        for new, reason in batch.failed:
            items.fail(session, self.gallery.id, new, reason)
