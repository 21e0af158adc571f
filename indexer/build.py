"""The pipeline from a source to a snapshot: scan, decode ahead, drop what is known, embed, publish batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from indexer.publish import Batch, Publisher
from indexer.scan import Examined, ahead, compare, examine
from indexer.sources.description import Description
from indexer.sources.folder import FailedRecord, Record
from storage import items
from storage.db import Database
from storage.galleries import Gallery
from storage.items import Item, NewItem
from storage.snapshots import Snapshots

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
T = TypeVar("T")

TEXT_BATCH = 256
FAILED_BATCH = 1024
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


class Source(Protocol):
    """What indexing needs of a folder or a dataset. Its files belong to no other source of the gallery."""

    @property
    def uri(self) -> str:
        """The name by which items remember where they come from."""
        ...

    @property
    def layout(self) -> str | None:
        """The layout of a dataset; None for a folder of files."""
        ...

    @property
    def texts_need_pictures(self) -> bool:
        """Whether a text is left out where no file that it describes can be found."""
        ...

    def records(self) -> Iterable[Record]:
        """List the files as they are now, each once."""
        ...

    def descriptions(self) -> Iterable[Description]:
        """Say what is said of the files."""
        ...

    def name_of(self, uri: str) -> str:
        """Give the words of a file's name, by which it is found without a model."""
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
    """What an index run found and did. `found` counts files, the others say what became of them.

    `left_out` counts texts that are no items because their pictures are missing or broken.
    """

    found: int = 0
    added: int = 0
    unchanged: int = 0
    renamed: int = 0
    removed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    texts: int = 0
    pairs: int = 0
    left_out: int = 0


@dataclass
class Builder:
    """One index run of one source into one gallery; without an encoder, items are found by their words."""

    database: Database
    snapshots: Snapshots
    gallery: Gallery
    encoder: Encoder | None
    progress: Progress
    pixel_limit: int
    batch: int
    threads: int
    report: Report = field(default_factory=Report)

    def run(self, source: Source, *, holder: str) -> Report:
        """Make the gallery hold exactly what the source holds and what it says of its files.

        `holder` holds the gallery's lease.
        """
        publisher = Publisher(self.database, self.snapshots, self.gallery, holder)
        publisher.repair()
        self._images(source, publisher)
        images = {item.uri: item for item in self._living("image", source.uri)}
        said = self._said(source, images)
        self._texts(source, said, publisher)
        self._relations(source, said, images, publisher)
        publisher.seal()
        return self.report

    def _images(self, source: Source, publisher: Publisher) -> None:
        known = self._living("image", source.uri)
        scan = compare(source.records(), {item.uri: item for item in known}, self._is_findable)
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
        self, source: Source, unreadable: Sequence[FailedRecord], known: Mapping[str, Item], publisher: Publisher
    ) -> None:
        """Keep files and folders that could not even be looked at, with their reasons."""
        self.report.failed += [(record.uri, record.reason) for record in unreadable]
        new = [one for one in unreadable if one.uri not in known or known[one.uri].reason != one.reason]
        for some in _batches(new, FAILED_BATCH):
            replaced = [known[one.uri].id for one in some if one.uri in known]
            failed = [(NewItem("image", one.uri, source.uri), one.reason) for one in some]
            publisher.publish(Batch("image", (), replaced, failed), None)

    def _image_batch(
        self, source: Source, batch: Sequence[Examined], moved: dict[str | None, list[Item]], publisher: Publisher
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

    def _new_item(self, source: Source, one: Examined, alike: Item | None) -> NewItem:
        record = one.task.record
        width, height = one.size or ((alike.width, alike.height) if alike else (None, None))
        return NewItem(
            kind="image",
            uri=record.uri,
            source=source.uri,
            size=record.size,
            mtime_ns=record.mtime_ns,
            content_hash=one.content_hash,
            width=width,
            height=height,
            words="" if self.encoder else source.name_of(record.uri),
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

    def _said(self, source: Source, images: Mapping[str, Item]) -> list[Description]:
        """Give what the source says of its files, without the texts that would be wrong answers to every query."""
        said = list(source.descriptions())
        if not source.texts_need_pictures:
            return said
        shown = [one for one in said if one.file_uri in images and self._is_findable(images[one.file_uri])]
        self.report.left_out = sum(len(one.texts) for one in said) - sum(len(one.texts) for one in shown)
        return shown

    def _texts(self, source: Source, said: Sequence[Description], publisher: Publisher) -> None:
        """Make the gallery's texts of this source exactly those that are said; a text is known by its uri."""
        wanted = {uri: text for one in said for uri, text in one.texts.items()}
        there = {item.uri: item for item in self._living("text", source.uri)}
        current = {uri for uri, item in there.items() if item.text == wanted.get(uri) and self._is_findable(item)}
        missing = [uri for uri in wanted if uri not in current]
        self.progress.begin("texts", len(missing))
        for count, uris in enumerate(_batches(missing, TEXT_BATCH), start=1):
            texts = [wanted[uri] for uri in uris]
            new = [self._new_text(source, uri, text) for uri, text in zip(uris, texts, strict=True)]
            replaced = [there[uri].id for uri in uris if uri in there]
            publisher.publish(Batch("text", new, replaced), partial(self._embed_texts, texts) if self.encoder else None)
            self.progress.advance(len(uris))
            if count % SEAL_EVERY == 0:
                publisher.seal()
        gone = [item.id for uri, item in there.items() if uri not in wanted]
        if gone:
            with publisher.publishing() as session:
                items.bury(session, gone)
        self.report.texts = len(wanted)

    def _new_text(self, source: Source, uri: str, text: str) -> NewItem:
        words = "" if self.encoder else text
        return NewItem("text", uri, source.uri, content_hash=items.text_hash(text), text=text, words=words)

    def _embed_texts(self, texts: Sequence[str]) -> Float32:
        """Embed n texts to `float32 [n, 1, d]`, equal wording once: a text has one vector, whatever a picture has."""
        assert self.encoder is not None
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        return self.encoder.encode_texts(list(places))[[places[text] for text in texts], None, :]

    def _relations(
        self, source: Source, said: Sequence[Description], images: Mapping[str, Item], publisher: Publisher
    ) -> None:
        """Store which text describes which image, and what else is known of images.

        Without a model, full-text search reads an image's texts.
        """
        texts = {item.uri: item.id for item in self._living("text", source.uri)}
        if self.encoder and not texts and not said:
            return
        ids = {uri: item.id for uri, item in images.items() if item.state in items.FINDABLE}
        shown = [one for one in said if one.file_uri in ids]
        pairs = {(texts[uri], ids[one.file_uri]) for one in shown for uri in one.texts}
        self.report.pairs = len(pairs)
        nameless = {one.file_uri for one in said} - images.keys()
        self.report.failed += [(uri, "captions.jsonl names it, but there is no such file") for uri in sorted(nameless)]
        with self.database.reading() as session:
            bodies = {} if self.encoder else _bodies(source, said, ids)
            before = items.words(session, self.gallery.id) if bodies else {}
            bodies = {item_id: body for item_id, body in bodies.items() if before.get(item_id) != body}
            known = _known({ids[one.file_uri]: one for one in shown}, items.metadata(session, self.gallery.id))
            changed = items.pairs_of_source(session, self.gallery.id, source.uri) != pairs
        if changed or bodies or known:
            with publisher.publishing() as session:
                items.set_pairs(session, self.gallery.id, source.uri, pairs)
                items.set_words(session, bodies)
                items.set_metadata(session, known)

    def _living(self, kind: str, source: str) -> list[Item]:
        with self.database.reading() as session:
            return items.living(session, self.gallery.id, kind, source)


def _bodies(source: Source, said: Sequence[Description], images: Mapping[str, int]) -> dict[int, str]:
    """Say for each image what full-text search reads: its name and its texts."""
    texts: dict[str, list[str]] = defaultdict(list)
    for one in said:
        texts[one.file_uri] += one.texts.values()
    return {item_id: " ".join([source.name_of(uri), *texts[uri]]) for uri, item_id in images.items()}


def _known(
    said: Mapping[int, Description], before: Mapping[int, tuple[str | None, dict[str, Any]]]
) -> dict[int, tuple[str | None, dict[str, Any]]]:
    """Give what is known of images beside their texts, where it is not what was stored before."""
    now = {item_id: (one.split, dict(one.metadata)) for item_id, one in said.items()}
    return {item_id: known for item_id, known in now.items() if before.get(item_id, (None, {})) != known}


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    waiting = iter(values)
    while batch := list(islice(waiting, size)):
        yield batch
