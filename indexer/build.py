"""The pipeline from a folder to a snapshot: scan, decode ahead, drop what is known, embed, publish batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from indexer.publish import Batch, Publisher
from indexer.scan import Examined, ahead, compare, examine
from indexer.sources.folder import CaptionRecord, FailedRecord, records
from indexer.uri import to_uri
from storage import items
from storage.db import Database
from storage.galleries import Gallery
from storage.items import Item, NewItem
from storage.snapshots import Snapshots

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
T = TypeVar("T")

TEXT_BATCH = 256
SEAL_EVERY = 64
"""Batches between two looks at whether the delta fills a shard."""


class Encoder(Protocol):
    """What indexing needs of a model."""

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
    """Who watches: told how much there is to do, and then how much was done."""

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


@dataclass
class Builder:
    """One index run of one folder into one gallery; without an encoder, items are found by their words."""

    database: Database
    snapshots: Snapshots
    gallery: Gallery
    encoder: Encoder | None
    progress: Progress
    pixel_limit: int
    batch: int
    threads: int
    within: Sequence[Path] | None = None
    """Where links may lead: see `sources.folder.records`."""
    report: Report = field(default_factory=Report)

    def run(self, folder: Path, described: Sequence[CaptionRecord], *, holder: str) -> Report:
        """Make the gallery hold exactly what the folder holds and what its captions say.

        `holder` holds the gallery's lease.
        """
        source = to_uri(folder)
        publisher = Publisher(self.database, self.snapshots, self.gallery, holder)
        publisher.repair()
        self._images(folder, source, publisher)
        self._texts(source, described, publisher)
        self._pairs(source, described, publisher)
        publisher.seal()
        return self.report

    def _images(self, folder: Path, source: str, publisher: Publisher) -> None:
        known = self._living("image", source)
        scan = compare(records(folder, self.within), {item.uri: item for item in known}, self._is_findable)
        self.report.found, self.report.unchanged, self.report.failed = scan.found, scan.unchanged, scan.failed
        self._keep_unreadable(source, scan.unreadable, {item.uri: item for item in known}, publisher)
        moved = scan.gone_by_content()
        look = partial(
            examine,
            embedded={item.content_hash for item in known if item.row is not None},
            prepare=self.encoder.prepare if self.encoder else None,
            pixel_limit=self.pixel_limit,
        )
        self.progress.begin("pictures", len(scan.tasks))
        examined = ahead(look, scan.tasks, threads=self.threads, depth=2 * self.batch)
        for count, batch in enumerate(_batches(examined, self.batch), start=1):
            self._image_batch(source, batch, moved, publisher)
            self.progress.advance(len(batch))
            if count % SEAL_EVERY == 0:
                publisher.seal()
        left = [item.id for found in moved.values() for item in found]
        if left:
            with publisher.publishing() as session:
                items.bury(session, left)
        self.report.removed = len(left)

    def _keep_unreadable(
        self, source: str, unreadable: Sequence[FailedRecord], known: dict[str, Item], publisher: Publisher
    ) -> None:
        """Keep files and folders that could not even be looked at, with their reasons."""
        self.report.failed += [(record.uri, record.reason) for record in unreadable]
        new = [one for one in unreadable if one.uri not in known or known[one.uri].reason != one.reason]
        if new:
            replaced = [known[one.uri].id for one in new if one.uri in known]
            failed = [(NewItem("image", one.uri, source), one.reason) for one in new]
            publisher.publish(Batch("image", (), replaced, failed), None)

    def _image_batch(
        self, source: str, batch: Sequence[Examined], moved: dict[str | None, list[Item]], publisher: Publisher
    ) -> None:
        """Sort files that were looked at into the same as before, new and broken, and publish them."""
        with self.database.reading() as session:
            hashes = {one.content_hash for one in batch if one.content_hash}
            alike = items.embedded_like(session, self.gallery.id, "image", hashes)
        same = {id(one): item for one in batch if (item := self._same_item(one, moved))}
        new = [one for one in batch if one.reason is None and id(one) not in same]
        failed = [one for one in batch if one.reason is not None]
        described = [self._new_item(source, one, alike.get(one.content_hash or "")) for one in new]
        publisher.publish(
            Batch(
                kind="image",
                new=described,
                replaced=[one.task.old.id for one in [*new, *failed] if one.task.old is not None],
                failed=[(self._new_item(source, one, None), one.reason or "") for one in failed],
                moved=[(same[id(one)].id, self._new_item(source, one, None)) for one in batch if id(one) in same],
            ),
            partial(self._embed_images, new, alike, publisher) if self.encoder else None,
        )
        self.report.added += len(new)
        self.report.renamed += sum(same[id(one)].uri != one.task.record.uri for one in batch if id(one) in same)
        self.report.failed += [(one.task.record.uri, one.reason or "") for one in failed]

    def _same_item(self, one: Examined, moved: dict[str | None, list[Item]]) -> Item | None:
        """Recognise a file by its content: the same one touched, or one that lay elsewhere before."""
        if one.content_hash is None or one.reason is not None:
            return None
        if one.task.old is not None:
            unchanged = one.task.old.content_hash == one.content_hash and self._is_findable(one.task.old)
            return one.task.old if unchanged else None
        if moved.get(one.content_hash) and self._is_findable(moved[one.content_hash][-1]):
            return moved[one.content_hash].pop()
        return None

    def _is_findable(self, item: Item) -> bool:
        return item.state == ("listed" if self.encoder is None else "embedded")

    def _new_item(self, source: str, one: Examined, alike: Item | None) -> NewItem:
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

    def _embed_images(self, new: Sequence[Examined], alike: dict[str, Item], publisher: Publisher) -> Float32:
        """Give `float32 [n, v, d]` for n files; equal content is embedded once."""
        assert self.encoder is not None
        fresh = {
            one.content_hash: one.pixels for one in new if one.pixels is not None and one.content_hash not in alike
        }
        vectors: dict[str | None, Float32] = {}
        if fresh:
            vectors = dict(zip(fresh, self.encoder.encode_images(np.stack(list(fresh.values()))), strict=True))
        vectors |= {digest: publisher.stored_vector(item) for digest, item in alike.items()}
        return np.stack([vectors[one.content_hash] for one in new])

    def _texts(self, source: str, described: Sequence[CaptionRecord], publisher: Publisher) -> None:
        """Make the gallery's texts of this source exactly those of captions.jsonl; equal texts are one item."""
        said = dict.fromkeys(text for one in described for text in one.texts)
        wanted = {text: f"{source}/captions.jsonl#{items.text_hash(text)[:16]}" for text in said}
        there = {item.text: item for item in self._living("text", source)}
        current = {text for text, item in there.items() if self._is_findable(item)}
        missing = [text for text in wanted if text not in current]
        self.progress.begin("texts", len(missing))
        for texts in _batches(missing, TEXT_BATCH):
            words = {text: "" if self.encoder else text for text in texts}
            new = [
                NewItem("text", wanted[text], source, content_hash=items.text_hash(text), text=text, words=words[text])
                for text in texts
            ]
            replaced = [there[text].id for text in texts if text in there]
            publisher.publish(Batch("text", new, replaced), partial(self._embed_texts, texts) if self.encoder else None)
            self.progress.advance(len(texts))
        gone = [item.id for text, item in there.items() if text not in wanted]
        if gone:
            with publisher.publishing() as session:
                items.bury(session, gone)
        self.report.texts = len(wanted)

    def _embed_texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts to `float32 [n, 1, d]`: a text has one vector, however many a picture has."""
        assert self.encoder is not None
        return self.encoder.encode_texts(texts)[:, None, :]

    def _pairs(self, source: str, described: Sequence[CaptionRecord], publisher: Publisher) -> None:
        """Store which text describes which image; without a model, let full-text search read an image's texts."""
        texts = {item.text: item.id for item in self._living("text", source)}
        if self.encoder and not texts and not described:
            return
        images = {item.uri: item.id for item in self._living("image", source) if item.state in items.FINDABLE}
        pairs = {
            (texts[text], images[one.file_uri]) for one in described if one.file_uri in images for text in one.texts
        }
        bodies = {} if self.encoder else _bodies(source, described, images)
        self.report.pairs = len(pairs)
        nameless = {one.file_uri for one in described} - {item.uri for item in self._living("image", source)}
        self.report.failed += [(uri, "captions.jsonl names it, but there is no such file") for uri in sorted(nameless)]
        with self.database.reading() as session:
            before = items.words(session, self.gallery.id) if bodies else {}
            bodies = {item_id: body for item_id, body in bodies.items() if before.get(item_id) != body}
            changed = items.pairs_of_source(session, self.gallery.id, source) != pairs
        if changed or bodies:
            with publisher.publishing() as session:
                items.set_pairs(session, self.gallery.id, source, pairs)
                items.set_words(session, bodies)

    def _living(self, kind: str, source: str) -> list[Item]:
        with self.database.reading() as session:
            return items.living(session, self.gallery.id, kind, source)


def _bodies(source: str, described: Sequence[CaptionRecord], images: dict[str, int]) -> dict[int, str]:
    """Say for each image what full-text search reads: its name below the source and its captions."""
    said: dict[str, list[str]] = defaultdict(list)
    for one in described:
        said[one.file_uri] += one.texts
    return {item_id: " ".join([_name(source, uri), *said[uri]]) for uri, item_id in images.items()}


def _name(source: str, uri: str) -> str:
    """Give the words in a file's name and in the folders between the source and it."""
    return str(PurePosixPath(uri.removeprefix(source)).with_suffix("")).strip("/")


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    waiting = iter(values)
    while batch := list(islice(waiting, size)):
        yield batch
