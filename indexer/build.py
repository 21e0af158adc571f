"""The pipeline from a folder to a snapshot: scan, decode ahead, drop what is known, embed, publish batch by batch.

The order of writes makes it safe to kill at any byte: items are announced (pending), vectors are appended and synced,
and one transaction publishes both. What was published stays; what was not is done again by the next run.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from indexer.decode import content_hash, decode
from indexer.errors import DecodeFailed
from indexer.sources.folder import CaptionRecord, FailedRecord, FileRecord, captions, records
from indexer.uri import to_uri
from storage import galleries, items
from storage.db import Database, Session
from storage.galleries import Gallery
from storage.items import Item, NewItem
from storage.lease import write_lease
from storage.snapshots import Snapshots
from storage.vectors.blocks import Block

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")

BLOCK_ROWS = 1 << 20
TEXT_BATCH = 256
SEAL_EVERY = 64
"""Batches between two looks at whether the delta fills a shard."""


class Encoder(Protocol):
    """What indexing needs of a model."""

    @property
    def dimension(self) -> int:
        """d, the length of a vector."""
        ...

    @property
    def vectors(self) -> int:
        """v, vectors per image."""
        ...

    def prepare(self, image: Image) -> UInt8:
        """Resize a picture to what the model reads: `uint8 [R, R, 3]`."""
        ...

    def encode_images(self, pixels: UInt8) -> Float32:
        """Embed `uint8 [n, R, R, 3]` to `float32 [n, v, d]`."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts to `float32 [n, d]`."""
        ...


class Progress(Protocol):
    """Who watches: told once how much there is to do, and then how much was done."""

    def begin(self, what: str, total: int) -> None:
        """Start a chapter of `total` steps."""
        ...

    def advance(self, count: int) -> None:
        """Note that `count` steps more are done and durable."""
        ...


@dataclass
class Report:
    """What an index run found and did. `found` counts files, the others say what became of them."""

    found: int = 0
    added: int = 0
    unchanged: int = 0
    renamed: int = 0
    removed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    texts: int = 0
    pairs: int = 0


@dataclass(frozen=True)
class _Task:
    """A file that has to be looked at, and the item that stands for it so far."""

    record: FileRecord
    old: Item | None


@dataclass(frozen=True)
class _Examined:
    """A file that was looked at: its content hash, and its pixels, its size or why it has none."""

    task: _Task
    content_hash: str | None
    pixels: UInt8 | None = None
    size: tuple[int, int] | None = None
    reason: str | None = None


@dataclass
class Builder:
    """One index run of one folder into one gallery."""

    database: Database
    snapshots: Snapshots
    gallery: Gallery
    encoder: Encoder | None
    progress: Progress
    pixel_limit: int
    batch: int = 32
    threads: int = 2
    report: Report = field(default_factory=Report)

    def run(self, folder: Path) -> Report:
        """Make the gallery hold exactly what the folder holds."""
        source = to_uri(folder)
        described = list(captions(folder))
        with write_lease(self.database, self.gallery) as self.holder:
            with self.database.writing() as session:
                items.forget_pending(session, self.gallery.id)
                galleries.add_source(session, self.gallery.id, source)
            self.snapshots.repair(self.database, self.gallery, self.holder)
            self._images(folder, source)
            self._texts(source, described)
            self.snapshots.seal(self.database, self.gallery, self.holder)
        return self.report

    def _images(self, folder: Path, source: str) -> None:
        tasks, gone = self._scan(folder, source)
        moved = defaultdict(list)
        for item in gone.values():
            moved[item.content_hash].append(item)
        self.progress.begin("pictures", len(tasks))
        examined = _ahead(self._examiner(source), tasks, threads=self.threads, depth=2 * self.batch)
        for count, batch in enumerate(_batches(examined, self.batch)):
            self._publish(source, batch, moved)
            self.progress.advance(len(batch))
            if count % SEAL_EVERY == SEAL_EVERY - 1:
                self.snapshots.seal(self.database, self.gallery, self.holder)
        left = [item.id for found in moved.values() for item in found]
        if left:
            with self._publishing() as session:
                items.bury(session, left)
        self.report.removed = len(left)

    def _scan(self, folder: Path, source: str) -> tuple[list[_Task], dict[str, Item]]:
        """Compare the folder with SQL by size and time: what to look at, and which items have lost their file."""
        with self.database.reading() as session:
            known = {item.uri: item for item in items.living(session, self.gallery.id, "image", source)}
        tasks: list[_Task] = []
        for record in records(folder):
            if isinstance(record, FailedRecord):
                self.report.failed.append((record.uri, record.reason))
                below = record.uri.rstrip("/") + "/"
                known = {uri: item for uri, item in known.items() if uri != record.uri and not uri.startswith(below)}
                continue
            self.report.found += 1
            old = known.pop(record.uri, None)
            if old is None or not self._is_current(old, record):
                tasks.append(_Task(record, old))
            elif old.state == "failed":
                self.report.failed.append((old.uri, old.reason or ""))
            else:
                self.report.unchanged += 1
        return tasks, known

    def _is_current(self, old: Item, record: FileRecord) -> bool:
        wanted = "listed" if self.encoder is None else "embedded"
        return (old.size, old.mtime_ns) == (record.size, record.mtime_ns) and old.state in {wanted, "failed"}

    def _examiner(self, source: str) -> Callable[[_Task], _Examined]:
        """Give the function that the threads run: hash a file, and decode it unless its vector is known already."""
        with self.database.reading() as session:
            living = items.living(session, self.gallery.id, "image", source)
            embedded = {item.content_hash for item in living if item.row is not None}

        def examine(task: _Task) -> _Examined:
            digest = None
            try:
                digest = content_hash(task.record.path)
                if digest in embedded:
                    return _Examined(task, digest)
                image = decode(task.record.path, pixel_limit=self.pixel_limit)
            except DecodeFailed as error:
                return _Examined(task, digest, reason=error.reason)
            pixels = None if self.encoder is None else self.encoder.prepare(image)
            return _Examined(task, digest, pixels=pixels, size=image.size)

        return examine

    def _publish(self, source: str, batch: Sequence[_Examined], moved: dict[str | None, list[Item]]) -> None:
        """Take a batch from files to searchable items: announce, embed, append, publish."""
        with self.database.reading() as session:
            alike = items.embedded_like(
                session, self.gallery.id, "image", {one.content_hash for one in batch if one.content_hash}
            )
        stayed, new = [], []
        for one in batch:
            same = self._same_item(one, moved)
            if same is not None:
                stayed.append((same, one))
            elif one.reason is None:
                new.append(one)
        failed = [one for one in batch if one.reason is not None]
        announced = [self._new_item(source, one, alike.get(one.content_hash or "")) for one in new]
        with self.database.writing() as session:
            galleries.renew_lease(session, self.gallery, self.holder)
            for item, one in stayed:
                record = one.task.record
                items.touch(session, item.id, uri=record.uri, size=record.size, mtime_ns=record.mtime_ns)
            ids = items.announce(session, self.gallery.id, announced)
        embeddings = self._embed_images(new, alike)
        replaced = [one.task.old.id for one in [*new, *failed] if one.task.old is not None]
        self._publish_vectors("image", ids, embeddings, replaced=replaced, failed=self._failures(source, failed))
        self.report.added += len(new)
        self.report.renamed += sum(item.uri != one.task.record.uri for item, one in stayed)

    def _same_item(self, one: _Examined, moved: dict[str | None, list[Item]]) -> Item | None:
        """Recognise a file by its content: the same one touched, or one that lay elsewhere before."""
        old = one.task.old
        if one.content_hash is None or one.reason is not None:
            return None
        if old is not None and old.content_hash == one.content_hash and self._is_findable(old):
            return old
        if old is None and moved.get(one.content_hash):
            candidate = moved[one.content_hash][-1]
            if self._is_findable(candidate):
                return moved[one.content_hash].pop()
        return None

    def _is_findable(self, item: Item) -> bool:
        return item.state == ("listed" if self.encoder is None else "embedded")

    def _new_item(self, source: str, one: _Examined, alike: Item | None) -> NewItem:
        record = one.task.record
        width, height = one.size or ((alike.width, alike.height) if alike else (None, None))
        return NewItem(
            kind="image",
            uri=record.uri,
            source=source,
            size=record.size,
            mtime_ns=record.mtime_ns,
            content_hash=one.content_hash,
            width=width,
            height=height,
            words="" if self.encoder else _name(source, record.uri),
        )

    def _failures(self, source: str, failed: Sequence[_Examined]) -> list[tuple[NewItem, str]]:
        failures = [(self._new_item(source, one, None), one.reason or "") for one in failed]
        self.report.failed += [(new.uri, reason) for new, reason in failures]
        return failures

    def _embed_images(self, new: Sequence[_Examined], alike: dict[str, Item]) -> Float32 | None:
        """Give `float32 [n, v, d]` for n files; equal content is embedded once."""
        if self.encoder is None or not new:
            return None
        fresh = {one.content_hash: one.pixels for one in new if one.pixels is not None}
        fresh = {digest: pixels for digest, pixels in fresh.items() if digest not in alike}
        vectors: dict[str | None, Float32] = {}
        if fresh:
            stack = np.stack([pixels for pixels in fresh.values() if pixels is not None])
            vectors = dict(zip(fresh, self.encoder.encode_images(stack), strict=True))
        for digest, item in alike.items():
            vectors[digest] = self._stored_vector(item)
        return np.stack([vectors[one.content_hash] for one in new])

    def _stored_vector(self, item: Item) -> Float32:
        assert item.block_id is not None
        assert item.row is not None
        with self.database.reading() as session:
            path = items.block_path(session, item.block_id)
        row: Float32 = self._block("image", path).read(end=item.row + 1)[item.row]
        return row

    def _block(self, kind: str, path: str) -> Block:
        return self.snapshots.block(self.gallery, kind, path)

    def _publish_vectors(
        self,
        kind: str,
        ids: Sequence[int],
        embeddings: Float32 | None,
        *,
        replaced: Sequence[int] = (),
        failed: Sequence[tuple[NewItem, str]] = (),
    ) -> None:
        """Append vectors, then let one transaction show the new items, bury the old and raise the revision."""

        def finish(session: Session) -> None:
            items.bury(session, replaced)
            for new, reason in failed:
                items.fail(session, self.gallery.id, new, reason)

        if embeddings is None:
            with self._publishing() as session:
                finish(session)
                items.publish_listed(session, ids)
            return
        with self.database.writing() as session:
            block_id, path = items.open_block(session, self.gallery.id, kind, room_for=len(ids), limit=BLOCK_ROWS)
        block = self._block(kind, path)
        with block.locked():
            with self.database.reading() as session:
                galleries.require_lease(session, self.gallery, self.holder)
                end = items.block_end(session, block_id)
            block.append(embeddings, end=end)
            with self._publishing() as session:
                finish(session)
                items.publish_embedded(session, block_id, end, ids)

    @contextmanager
    def _publishing(self) -> Iterator[Session]:
        """Open the transaction that publishes: it fails when the lease is lost, and raises the revision."""
        with self.database.writing() as session:
            galleries.renew_lease(session, self.gallery, self.holder)
            yield session
            galleries.raise_revision(session, self.gallery.id)

    def _texts(self, source: str, described: Sequence[CaptionRecord]) -> None:
        """Make the gallery's texts and pairs of this source exactly what captions.jsonl says."""
        wanted = {text: f"{source}/captions.jsonl#{_digest(text)[:16]}" for one in described for text in one.texts}
        with self.database.reading() as session:
            there = {item.text: item for item in items.living(session, self.gallery.id, "text", source)}
        current = {text for text, item in there.items() if text in wanted and self._is_findable(item)}
        new = [text for text in wanted if text not in current]
        self.progress.begin("texts", len(new))
        for texts in _batches(new, TEXT_BATCH):
            announced = [
                NewItem("text", wanted[text], source, content_hash=_digest(text), text=text, words=self._words(text))
                for text in texts
            ]
            with self.database.writing() as session:
                galleries.renew_lease(session, self.gallery, self.holder)
                ids = items.announce(session, self.gallery.id, announced)
            embeddings = None if self.encoder is None else self._embed_texts(texts)
            replaced = [there[text].id for text in texts if text in there]
            self._publish_vectors("text", ids, embeddings, replaced=replaced)
            self.progress.advance(len(texts))
        gone = [item.id for text, item in there.items() if text not in wanted]
        self._pair(source, described, gone)
        self.report.texts = len(wanted)

    def _embed_texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts to `float32 [n, 1, d]`: a text has one vector, however many a picture has."""
        assert self.encoder is not None
        return self.encoder.encode_texts(texts)[:, None, :]

    def _words(self, text: str) -> str:
        return "" if self.encoder else text

    def _pair(self, source: str, described: Sequence[CaptionRecord], gone: Sequence[int]) -> None:
        with self.database.reading() as session:
            texts = {item.text: item.id for item in items.living(session, self.gallery.id, "text", source)}
            images = {
                item.uri: item.id
                for item in items.living(session, self.gallery.id, "image", source)
                if item.state in items.FINDABLE
            }
            changed = bool(gone)
        pairs = {
            (texts[text], images[one.file_uri]) for one in described if one.file_uri in images for text in one.texts
        }
        self.report.pairs = len(pairs)
        with self.database.writing() as session:
            galleries.renew_lease(session, self.gallery, self.holder)
            items.bury(session, gone)
            changed |= items.set_pairs(session, self.gallery.id, source, pairs)
            if self.encoder is None:
                before, bodies = items.words(session, self.gallery.id), _bodies(source, described, images)
                items.set_words(session, {i: body for i, body in bodies.items() if before.get(i) != body})
            if changed:
                galleries.raise_revision(session, self.gallery.id)


def _bodies(source: str, described: Sequence[CaptionRecord], images: dict[str, int]) -> dict[int, str]:
    """Say for each image what full-text search reads: its name below the source and its captions."""
    said = {one.file_uri: " ".join(one.texts) for one in described}
    return {item_id: f"{_name(source, uri)} {said.get(uri, '')}".strip() for uri, item_id in images.items()}


def _name(source: str, uri: str) -> str:
    """Give the words in a file's name and in the folders between the source and it."""
    return str(PurePosixPath(uri.removeprefix(source)).with_suffix("")).strip("/")


def _ahead(function: Callable[[T], R], values: Iterable[T], *, threads: int, depth: int) -> Iterator[R]:
    """Map in threads, in order, at most `depth` results ahead of the reader: memory stays bounded."""
    waiting: list[Future[R]] = []
    executor = ThreadPoolExecutor(threads)
    try:
        for value in values:
            waiting.append(executor.submit(function, value))
            if len(waiting) >= depth:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    waiting = iter(values)
    while batch := list(islice(waiting, size)):
        yield batch


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
