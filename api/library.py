"""Sightline as a Python object: the same verbs as the command line, which calls them, as do the HTTP routes."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL.Image import Image

from api.errors import DOMAIN, UsageError
from api.settings import Settings, read_settings
from api.wiring import RENDERED_MODEL, Say, Wiring
from indexer.build import Builder, Progress, Report
from indexer.decode import decode, decode_bytes, open_file, thumbnail
from indexer.errors import DecodeFailed, OriginalChanged, OriginalMissing, SourceMissing
from indexer.uri import from_uri, to_uri
from retrieval import ask as asking
from retrieval.errors import NoTexts, RoleMissing
from retrieval.evaluation import run as evaluation
from retrieval.evaluation.run import Direction
from retrieval.lookup import lookup, lookup_among
from retrieval.models import hub
from retrieval.models.checkpoints import CHECKPOINTS, Checkpoint
from retrieval.search import Reranker, search, search_many, search_names
from retrieval.types import Answer, Hit, Query
from storage import evaluations, galleries, items, jobs, schema
from storage.db import Session
from storage.errors import GalleryBusy, GalleryNotFound
from storage.galleries import Gallery, GallerySummary
from storage.items import Item

MOST_HITS = 1000
MOST_CANDIDATES = 2000


class Silence:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        """Start a chapter."""

    def advance(self, count: int) -> None:
        """Note some steps."""


@dataclass(frozen=True)
class Indexed:
    """The outcome of indexing: the gallery's name and model, and what was found and done."""

    gallery: str
    model: str | None
    revision: int
    report: Report


@dataclass(frozen=True)
class Page:
    """Hits and how they were found: `stages` is "itc+itm", "itc" or "names" (full-text search, without scores)."""

    gallery: str | None
    model: str | None
    revision: int | None
    stages: str
    unknown_words: tuple[str, ...]
    hits: tuple[Hit, ...]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class Evaluated:
    """A stored evaluation: recall in both directions, before and after reranking."""

    id: int
    gallery: str
    model: str
    revision: int
    candidates: int
    directions: tuple[Direction, ...]


@dataclass(frozen=True)
class ModelRow:
    """A row of the table of models and whether its weights are here."""

    checkpoint: Checkpoint
    cached: bool


class Sightline:
    """Galleries of pictures, searched in two stages.

    >>> from api import Sightline                                        # doctest: +SKIP
    >>> page = Sightline().search("photos", "a penguin left of a car")   # doctest: +SKIP
    """

    def __init__(
        self, home: Path | str | None = None, *, settings: Settings | None = None, say: Say | None = None
    ) -> None:
        """Keep everything below `home` (default: the platform's data folder); `say` hears one-line notices."""
        chosen = settings or read_settings()
        if home is not None:
            chosen = chosen.model_copy(update={"home": Path(home)})
        self.settings = chosen
        self.wiring = Wiring(chosen, say or logging.getLogger("sightline").info)

    def close(self) -> None:
        """Return what is open; the object is of no use afterwards."""
        self.wiring.close()

    # Galleries

    def galleries(self) -> list[GallerySummary]:
        """List all galleries."""
        with self.wiring.database.reading() as session:
            return galleries.summaries(session)

    def gallery(self, name: str) -> Gallery:
        """Find a gallery by name."""
        with self.wiring.database.reading() as session:
            return galleries.by_name(session, name)

    def failed(self, name: str) -> list[Item]:
        """List the files of a gallery that could not be read, with reasons."""
        with self.wiring.database.reading() as session:
            return items.failed(session, galleries.by_name(session, name).id)

    def remove(self, name: str) -> None:
        """Forget a gallery; the pictures stay where they are."""
        with self.wiring.database.writing() as session:
            gallery = galleries.by_name(session, name)
            galleries.acquire_lease(session, gallery, galleries.new_holder())
            galleries.remove(session, gallery.id)
        self.wiring.snapshots.drop_files(gallery.id)

    def name_of(self, target: str) -> str:
        """Give the name of the gallery that a name or a folder means, without indexing anything."""
        if Path(target).expanduser().is_dir():
            with self.wiring.database.reading() as session:
                found = galleries.by_source(session, to_uri(Path(target).expanduser().resolve()))
            if found is not None:
                return found.name
        return target

    def gallery_of_file(self, picture: Path | str) -> str | None:
        """Give the name of the gallery that a file belongs to, or of the only gallery there is."""
        item = self._item_of(str(picture))
        with self.wiring.database.reading() as session:
            if item is not None:
                return galleries.by_id(session, item.gallery_id).name
            names = [summary.name for summary in galleries.summaries(session)]
        return names[0] if len(names) == 1 else None

    def item(self, item_id: int) -> Item:
        """Find a living item."""
        with self.wiring.database.reading() as session:
            return items.by_id(session, item_id)

    def models(self) -> list[ModelRow]:
        """List the models that have names, and whether their weights are here."""
        return [ModelRow(row, hub.is_cached(row, row.roles[0])) for row in CHECKPOINTS.values()]

    def original(self, item_id: int) -> tuple[Item, BinaryIO]:
        """Open the file of an item's picture, which must be as it was when it was indexed."""
        item = self._picture_item(item_id)
        try:
            file = open_file(from_uri(item.uri))
        except DecodeFailed as error:
            raise OriginalMissing(item.uri) from error
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns) != (item.size, item.mtime_ns):
            file.close()
            raise OriginalChanged(item.uri)
        return item, file

    def thumbnail(self, item_id: int) -> tuple[Item, bytes]:
        """Give a small JPEG of an item's picture, made once for each content."""
        item = self._picture_item(item_id)
        if item.content_hash is None:
            raise OriginalMissing(item.uri)
        name = f"{item.content_hash}-320.jpg"
        return item, self.wiring.blobs.get_or_make(name, lambda: thumbnail(self.wiring.originals.open(item)))

    # Service

    def check(self) -> None:
        """Raise unless the database can be reached and is at this program's schema."""
        schema.require_current(self.wiring.database)

    def warm_up(self, name: str) -> None:
        """Load a gallery's models and newest snapshot, so that its first query is quick."""
        try:
            if self.gallery(name).model is not None:
                self.search_gallery(name, "a picture", k=1, candidates=1)
        except DOMAIN as error:
            self.wiring.say(f"gallery {name} is not ready: {error}")

    # Index

    def index(
        self,
        folder: Path | str,
        *,
        gallery: str | None = None,
        model: str | None = None,
        progress: Progress | None = None,
    ) -> Indexed:
        """Make a gallery hold exactly what a folder holds; what did not change is not read again."""
        return self._index(folder, gallery, model, progress, searching=False)

    def _index(
        self,
        folder: Path | str,
        gallery: str | None,
        model: str | None,
        progress: Progress | None,
        *,
        searching: bool,
    ) -> Indexed:
        """Index; a search does not wait for the network each time that a gallery has no model."""
        place = _existing_folder(folder)
        known = self._known_gallery(place, gallery)
        # The model comes first: where it cannot be had, no empty gallery is left behind.
        checkpoint = self._model_for(known, place, model or self.settings.model, searching=searching)
        encoder = None
        if checkpoint is not None:
            self.wiring.announce_download(checkpoint, "encoder")
            encoder = self.wiring.encoder(checkpoint)
        with self.wiring.database.writing() as session:
            chosen = known or galleries.create(session, gallery or self._free_name(session, place))
            if checkpoint is not None and encoder is not None:
                chosen = galleries.fix_model(
                    session,
                    chosen,
                    model=checkpoint.name,
                    fingerprint=encoder.fingerprint,
                    dimension=encoder.dimension,
                    vectors=encoder.vectors,
                )
        builder = Builder(
            self.wiring.database,
            self.wiring.snapshots,
            chosen,
            encoder,
            progress or Silence(),
            pixel_limit=self.settings.pixel_limit,
            batch=self.wiring.batch(checkpoint) if checkpoint else 32,
            threads=self.settings.decode_threads,
        )
        report = self._as_job(chosen, builder, place)
        return Indexed(chosen.name, chosen.model, self.gallery(chosen.name).revision, report)

    # Search

    def search(
        self,
        target: Path | str,
        text: str | None = None,
        *,
        image: Image | Path | str | None = None,
        k: int = 10,
        candidates: int | None = None,
        rerank: bool = True,
        model: str | None = None,
        progress: Progress | None = None,
    ) -> Page:
        """Find pictures by text, by picture or by both.

        `target` is a folder, which is indexed first where it is new or has changed, or the name of a gallery.
        `candidates` is how many of the first stage are reranked; the default suits the model and the device.
        """
        _check_k(k, candidates)
        if text is None and image is None:
            raise UsageError("text", "a query needs a text, a picture or both")
        return self._search(self._target(target, model, progress), text, image, k, candidates, rerank)

    def search_gallery(
        self,
        name: str,
        text: str | None = None,
        *,
        image: Image | bytes | None = None,
        k: int = 10,
        candidates: int | None = None,
        rerank: bool = True,
    ) -> Page:
        """Search as `search` does, but never look at folders: what strangers send names a gallery or nothing."""
        _check_k(k, candidates)
        if text is None and image is None:
            raise UsageError("text", "a query needs a text, a picture or both")
        return self._search(self.gallery(name), text, image, k, candidates, rerank)

    def search_batch(self, name: str, texts: Sequence[str], ks: Sequence[int]) -> list[Page]:
        """Answer several texts by the first stage alone, in one pass: the pages are those of one at a time."""
        for k in ks:
            _check_k(k, None)
        gallery = self.gallery(name)
        if gallery.model is None:
            return [self._search_names(gallery, text, k) for text, k in zip(texts, ks, strict=True)]
        encoder = self.wiring.encoder_of(gallery)
        with self.wiring.database.reading() as session:
            snapshot = self.wiring.snapshots.newest(session, gallery, "image")
            pages = search_many(session, [Query(text) for text in texts], snapshot, encoder, k=ks)
        return [
            _page(gallery, snapshot.revision, None, encoder.unknown_words(text), hits)
            for text, hits in zip(texts, pages, strict=True)
        ]

    def lookup(
        self,
        image: Image | Path | str,
        target: Path | str | None = None,
        *,
        texts: Sequence[str] | None = None,
        texts_name: str = "texts",
        k: int = 10,
        candidates: int | None = None,
        rerank: bool = True,
        model: str | None = None,
        progress: Progress | None = None,
    ) -> Page:
        """Find the texts that describe a picture best: those of a gallery, or the given ones."""
        _check_k(k, candidates)
        if texts is not None:
            gallery = None if target is None else self._target(target, None, None)
            return self._lookup_among(image, texts, texts_name, gallery, k, candidates, rerank, model)
        if target is None:
            raise UsageError("gallery", "a lookup needs texts to choose from: --gallery NAME or --texts FILE")
        return self._lookup(self._target(target, model, progress), image, k, candidates, rerank)

    def lookup_gallery(
        self,
        name: str,
        image: Image | bytes,
        *,
        texts: Sequence[str] | None = None,
        k: int = 10,
        candidates: int | None = None,
        rerank: bool = True,
    ) -> Page:
        """Look up as `lookup` does, but never look at folders; given texts are read with the gallery's model."""
        _check_k(k, candidates)
        gallery = self.gallery(name)
        if texts is None:
            return self._lookup(gallery, image, k, candidates, rerank)
        if gallery.model is None:
            raise RoleMissing(f"gallery {gallery.name}", "model, which a lookup needs")
        return self._lookup_among(image, texts, "texts", gallery, k, candidates, rerank, None)

    # Ask

    def ask(self, what: int | Path | str | Image, question: str | None = None, *, model: str | None = None) -> Answer:
        """Describe an item or a picture, or answer a question about it."""
        item = self._item_of(what)
        picture = self.wiring.originals.open(item) if item else self._picture(what)  # type: ignore[arg-type]
        checkpoint = self._asked_model(item, what, model)
        item_id = item.id if item else None
        if question is None:
            return asking.caption(picture, self.wiring.captioner(checkpoint), item_id=item_id)
        return asking.ask(picture, question, self.wiring.answerer(checkpoint), item_id=item_id)

    # Evaluate

    def evaluate(
        self,
        target: Path | str,
        *,
        candidates: int | None = None,
        rerank: bool = True,
        queries: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Evaluated:
        """Measure recall@1/5/10 in both directions over the gallery's pairs, and store the result."""
        _check_k(1, candidates)
        gallery = self._target(target, None, progress)
        if gallery.model is None:
            raise RoleMissing(f"gallery {gallery.name}", "model, which an evaluation needs")
        encoder = self.wiring.encoder_of(gallery)
        reranker = self.wiring.reranker_of(gallery) if rerank else None
        depth = candidates or self.wiring.depth(gallery)
        watcher = progress or Silence()
        with self.wiring.database.reading() as session:
            images = self.wiring.snapshots.newest(session, gallery, "image")
            texts = self.wiring.snapshots.newest(session, gallery, "text")
            watcher.begin("queries", evaluation.total_queries(session, gallery.id, queries))
            directions = evaluation.run(
                session,
                images,
                texts,
                encoder,
                reranker,
                candidates=max(depth, 10),
                queries=queries,
                seed=seed,
                advance=watcher.advance,
            )
        settings = {"candidates": depth, "rerank": reranker is not None, "queries": queries, "seed": seed}
        measures = {one.name: {"before": one.before, "after": one.after} for one in directions}
        with self.wiring.database.writing() as session:
            stored = evaluations.store(
                session,
                gallery.id,
                revision=images.revision,
                model=gallery.model,
                settings=settings,
                measures=measures,
            )
        return Evaluated(stored, gallery.name, gallery.model, images.revision, depth, tuple(directions))

    # What the verbs share

    def _known_gallery(self, folder: Path, name: str | None) -> Gallery | None:
        """Find the gallery of a folder, if there is one: by the given name, else by the folder itself."""
        with self.wiring.database.reading() as session:
            if name is None:
                return galleries.by_source(session, to_uri(folder))
            if not galleries.exists(session, name):
                galleries.check_name(name)
                return None
            known = galleries.by_name(session, name)
        _check_apart(folder, known)
        return known

    def _free_name(self, session: Session, folder: Path) -> str:
        """Name a gallery after its folder; where that name is taken, add the start of the path's digest."""
        name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:48] or "pictures"
        if not galleries.exists(session, name):
            return name
        return f"{name}-{hashlib.sha256(to_uri(folder).encode()).hexdigest()[:6]}"

    def _model_for(
        self, gallery: Gallery | None, folder: Path, wanted: str | None, *, searching: bool
    ) -> Checkpoint | None:
        """Choose the model that indexes a folder: the gallery's, the wanted one, or the best there is."""
        fixed = gallery.model if gallery else None
        if fixed is not None and wanted is None:
            return self.wiring.checkpoint(fixed)
        if wanted is None:
            return self.wiring.choose_model(folder, ask_network=gallery is None or not searching)
        checkpoint = self.wiring.checkpoint(wanted)
        if checkpoint.name == RENDERED_MODEL and fixed is None and not self.wiring.is_rendered(folder):
            self.wiring.say(
                f"{RENDERED_MODEL} has seen drawn postcards only: on photographs its similarities and match "
                "probabilities mean little."
            )
        return checkpoint

    def _as_job(self, gallery: Gallery, builder: Builder, folder: Path) -> Report:
        """Run the builder and keep a row of how it went."""
        with self.wiring.database.writing() as session:
            job = jobs.start(session, gallery.id, "index")
        state = "failed"
        try:
            report = builder.run(folder)
            state = "done"
            return report
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            with self.wiring.database.writing() as session:
                jobs.finish(session, job, state=state, report=_counts(builder.report))

    def _target(self, target: Path | str, model: str | None, progress: Progress | None) -> Gallery:
        """Give the gallery that a folder (brought up to date first) or a name means."""
        if Path(target).expanduser().is_dir():
            try:
                return self.gallery(self._index(target, None, model, progress, searching=True).gallery)
            except GalleryBusy as error:
                self.wiring.say(f"{error}; searching what is indexed so far")
                return self.gallery(error.name)
        if isinstance(target, Path) or "/" in target or target.startswith("."):
            raise SourceMissing(Path(target))
        try:
            return self.gallery(target)
        except GalleryNotFound as error:
            raise GalleryNotFound(target, error.known) from None

    def _search(
        self,
        gallery: Gallery,
        text: str | None,
        image: Image | Path | str | bytes | None,
        k: int,
        candidates: int | None,
        rerank: bool,
    ) -> Page:
        if gallery.model is None:
            return self._search_names(gallery, text, k)
        encoder = self.wiring.encoder_of(gallery)
        query = Query(text, None if image is None else self._picture(image))
        reranker = self.wiring.reranker_of(gallery) if rerank and text is not None else None
        with self.wiring.database.reading() as session:
            snapshot = self.wiring.snapshots.newest(session, gallery, "image")
            hits = search(
                session, query, snapshot, encoder, reranker, k=k, candidates=candidates or self.wiring.depth(gallery)
            )
        unknown = encoder.unknown_words(text) if text is not None else []
        return _page(gallery, snapshot.revision, reranker, unknown, hits)

    def _lookup(
        self, gallery: Gallery, image: Image | Path | str | bytes, k: int, candidates: int | None, rerank: bool
    ) -> Page:
        if gallery.model is None:
            raise RoleMissing(f"gallery {gallery.name}", "model, which a lookup needs")
        encoder = self.wiring.encoder_of(gallery)
        reranker = self.wiring.reranker_of(gallery) if rerank else None
        with self.wiring.database.reading() as session:
            snapshot = self.wiring.snapshots.newest(session, gallery, "text")
            if not snapshot.items:
                raise NoTexts(gallery.name)
            hits = lookup(
                session,
                self._picture(image),
                snapshot,
                encoder,
                reranker.matcher if reranker else None,
                k=k,
                candidates=candidates or self.wiring.depth(gallery),
            )
        return _page(gallery, snapshot.revision, reranker, [], hits)

    def _search_names(self, gallery: Gallery, text: str | None, k: int) -> Page:
        if text is None:
            raise RoleMissing(f"gallery {gallery.name}", "model, which searching by picture needs")
        if not text.strip():
            raise UsageError("text", "the query is empty")
        with self.wiring.database.reading() as session:
            hits = search_names(session, gallery.id, text, k=k)
            revision = galleries.revision(session, gallery.id)
        return Page(gallery.name, None, revision, "names", (), tuple(hits))

    def _lookup_among(
        self,
        image: Image | Path | str | bytes,
        texts: Sequence[str],
        texts_name: str,
        gallery: Gallery | None,
        k: int,
        candidates: int | None,
        rerank: bool,
        model: str | None,
    ) -> Page:
        name = model or (gallery.model if gallery else None) or self.settings.model
        checkpoint = self.wiring.checkpoint(name) if name else self._any_model(image)
        encoder = self.wiring.encoder(checkpoint)
        reranker = self.wiring.reranker(checkpoint) if rerank else None
        hits = lookup_among(
            self._picture(image),
            texts,
            encoder,
            reranker.matcher if reranker else None,
            k=k,
            candidates=candidates or len(texts),
            origin=texts_name,
        )
        stages = "itc+itm" if reranker else "itc"
        return Page(gallery.name if gallery else None, checkpoint.name, None, stages, (), tuple(hits))

    def _any_model(self, what: object) -> Checkpoint:
        """Choose a model for a picture of no gallery."""
        return self.wiring.model_of_picture(Path(what) if isinstance(what, (str, Path)) else None)

    def _asked_model(self, item: Item | None, what: object, model: str | None) -> Checkpoint:
        if model is None and item is not None:
            with self.wiring.database.reading() as session:
                model = galleries.by_id(session, item.gallery_id).model
        name = model or self.settings.model
        return self.wiring.checkpoint(name) if name else self._any_model(what)

    def _picture_item(self, item_id: int) -> Item:
        item = self.item(item_id)
        if item.kind != "image":
            raise UsageError("id", f"item {item.id} is a {item.kind}; this needs the id of a picture")
        return item

    def _item_of(self, what: int | Path | str | Image) -> Item | None:
        """Find the item that an id, a number in text or an indexed file means."""
        if isinstance(what, int) or (isinstance(what, str) and what.isdigit() and not Path(what).exists()):
            return self._picture_item(int(what))
        if isinstance(what, (str, Path)):
            with self.wiring.database.reading() as session:
                found = items.by_uri(session, to_uri(Path(what).expanduser().resolve()))
            if found is not None and self.wiring.originals.is_current(found):
                return found
        return None

    def _picture(self, image: Image | Path | str | bytes) -> Image:
        if isinstance(image, bytes):
            try:
                return decode_bytes(image, pixel_limit=self.settings.pixel_limit)
            except DecodeFailed as error:
                sentence = f"the picture cannot be read: {error.reason}; send a JPEG, PNG, WebP, HEIC or the like"
                raise DecodeFailed(sentence) from error
        if isinstance(image, (str, Path)):
            path = Path(image).expanduser()
            if not path.is_file():
                raise SourceMissing(path)
            try:
                return decode(path, pixel_limit=self.settings.pixel_limit)
            except DecodeFailed as error:
                raise DecodeFailed(f"{path}: {error.reason}") from error
        return image


def _existing_folder(folder: Path | str) -> Path:
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise SourceMissing(place)
    return place.resolve()


def _check_apart(folder: Path, gallery: Gallery) -> None:
    """A file may lie below one folder of a gallery only: otherwise it would come and go twice."""
    place = to_uri(folder)
    for source in gallery.sources:
        if source != place and (f"{place}/".startswith(f"{source}/") or f"{source}/".startswith(f"{place}/")):
            raise UsageError("folder", f"{place} and {source}, of which {gallery.name} is made, lie inside each other")


def _check_k(k: int, candidates: int | None) -> None:
    if not 1 <= k <= MOST_HITS:
        raise UsageError("k", f"k is {k}; it must lie between 1 and {MOST_HITS}")
    if candidates is not None and not 1 <= candidates <= MOST_CANDIDATES:
        raise UsageError("candidates", f"candidates is {candidates}; it must lie between 1 and {MOST_CANDIDATES}")


def _page(
    gallery: Gallery, revision: int, reranker: Reranker | None, unknown: Sequence[str], hits: Sequence[Hit]
) -> Page:
    stages = "itc+itm" if reranker else "itc"
    return Page(gallery.name, gallery.model, revision, stages, tuple(unknown), tuple(hits))


def _counts(report: Report) -> dict[str, Any]:
    return {
        "found": report.found,
        "added": report.added,
        "unchanged": report.unchanged,
        "renamed": report.renamed,
        "removed": report.removed,
        "failed": len(report.failed),
        "texts": report.texts,
        "pairs": report.pairs,
    }
