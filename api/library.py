"""Sightline as a Python object: the same verbs as the command line, which calls them, as do the HTTP routes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from PIL.Image import Image

from api.doors import bootstrapping, evaluations, folders, pages, pictures, reviews, training
from api.errors import DOMAIN, UsageError
from api.results import Bootstrapped, Evaluated, Indexed, ModelRow, Page
from api.settings import Settings, read_settings
from api.wiring import Say, Wiring
from indexer.build import Progress
from retrieval.models import hub
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.training.finetuning.recipe import DEFAULTS, Recipe
from retrieval.types import Answer
from storage import galleries, items, schema
from storage.galleries import Gallery, GallerySummary
from storage.items import Item


class Silence:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        """Start a chapter."""

    def advance(self, count: int) -> None:
        """Note some steps."""


class Sightline:
    """Galleries of pictures, searched in two stages.

    >>> from api import Sightline                                        # doctest: +SKIP
    >>> page = Sightline().search("photos", "three apples left of a car")   # doctest: +SKIP

    Targets are folders, which are indexed first where they are new or have changed, or names of galleries. Methods
    raise the named errors of `api.errors.DOMAIN`, each a sentence that says what is wrong. An object may be used from
    several threads.
    """

    def __init__(
        self, home: Path | str | None = None, *, settings: Settings | None = None, say: Say | None = None
    ) -> None:
        """Keep everything below `home` (default: the platform's data folder); `say` hears one-line notices."""
        chosen = settings or read_settings()
        if home is not None:
            chosen = chosen.model_copy(update={"home": Path(home)})
        self.settings = chosen
        self.wiring = Wiring(chosen, say or logging.getLogger("sightline").warning)

    def close(self) -> None:
        """Return what is open; the object is of no use afterwards."""
        self.wiring.close()

    # Galleries, items, models

    def galleries(self) -> list[GallerySummary]:
        """List all galleries."""
        with self.wiring.database.reading() as session:
            return galleries.summaries(session)

    def gallery(self, name: str) -> Gallery:
        """Find a gallery by name."""
        return folders.by_name(self.wiring, name)

    def name_of(self, target: str) -> str:
        """Give the name of the gallery that a name or a folder means, without indexing anything."""
        return folders.name_of(self.wiring, target)

    def gallery_of_file(self, picture: Path | str) -> str | None:
        """Give the name of the gallery that a file belongs to, or of the only gallery there is."""
        return pictures.gallery_of(self.wiring, picture)

    def remove(self, name: str) -> None:
        """Forget a gallery; the pictures stay where they are."""
        folders.remove(self.wiring, name)

    def failed(self, name: str) -> list[Item]:
        """List the files of a gallery that could not be read, with reasons."""
        with self.wiring.database.reading() as session:
            return items.failed(session, galleries.by_name(session, name).id)

    def item(self, item_id: int) -> Item:
        """Find a living item."""
        return pictures.item(self.wiring, item_id)

    def original(self, item_id: int) -> tuple[Item, BinaryIO]:
        """Open the file of an item's picture, which must be as it was when it was indexed."""
        return pictures.original(self.wiring, item_id)

    def thumbnail(self, item_id: int) -> tuple[Item, bytes]:
        """Give a small JPEG of an item's picture, made once for each content."""
        return pictures.small(self.wiring, item_id)

    def models(self) -> list[ModelRow]:
        """List the models that have names, and whether their weights are here."""
        return [ModelRow(row, hub.is_cached(row, row.roles[0])) for row in CHECKPOINTS.values()]

    # The verbs

    def index(
        self,
        folder: Path | str,
        *,
        gallery: str | None = None,
        model: str | None = None,
        progress: Progress | None = None,
    ) -> Indexed:
        """Make a gallery hold exactly what a folder holds; what did not change is not read again."""
        return folders.index(self.wiring, folder, gallery=gallery, model=model, progress=progress or Silence())

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

        `candidates` is how many hits of the first stage are reranked; the default suits the model and the device.
        """
        pages.check_sizes(k, candidates)
        pages.check_query(text, image)
        gallery = folders.target(self.wiring, target, model=model, progress=progress or Silence())
        return pages.search_page(self.wiring, gallery, text, image, k=k, candidates=candidates, rerank=rerank)

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
        pages.check_sizes(k, candidates)
        gallery = None
        if target is not None:
            gallery = folders.target(self.wiring, target, model=model, progress=progress or Silence())
        if texts is not None:
            return self._lookup_among(image, texts, texts_name, gallery, model, k, candidates, rerank)
        if gallery is None:
            raise UsageError("gallery", "a lookup needs texts to choose from: --gallery NAME or --texts FILE")
        return pages.lookup_page(self.wiring, gallery, image, k=k, candidates=candidates, rerank=rerank)

    def ask(
        self, what: int | Path | str | Image | bytes, question: str | None = None, *, model: str | None = None
    ) -> Answer:
        """Describe an item (by id or file) or a picture, or answer a question about it."""
        return pictures.ask(self.wiring, what, question, model=model)

    def evaluate(
        self,
        target: Path | str,
        *,
        candidates: int | None = None,
        rerank: bool = True,
        queries: int | None = None,
        seed: int = 0,
        synthetic: bool = False,
        progress: Progress | None = None,
    ) -> Evaluated:
        """Measure recall@1/5/10 in both directions over the gallery's pairs, and store the result.

        Pairs that a model wrote count where `synthetic` asks for them.
        """
        pages.check_sizes(1, candidates)
        watcher = progress or Silence()
        gallery = folders.target(self.wiring, target, model=None, progress=watcher)
        return evaluations.evaluate(
            self.wiring,
            gallery,
            candidates=candidates,
            rerank=rerank,
            queries=queries,
            seed=seed,
            synthetic=synthetic,
            progress=watcher,
        )

    def bootstrap(
        self,
        target: Path | str,
        *,
        captioner: str | None = None,
        threshold: float = 0.5,
        write: bool = False,
        review: Path | str | None = None,
        out: Path | str | None = None,
        progress: Progress | None = None,
    ) -> Bootstrapped:
        """Caption a gallery's pictures, keep the captions that its matcher believes, and doubt its given pairs.

        `threshold` is the match probability from which a text is believed. `write` stores the believed captions as
        synthetic pairs; `out` becomes a table to review (.csv or .jsonl), and `review` such a table with decisions.
        What was judged once is remembered, so the same call goes on after a kill.
        """
        table = None if out is None else reviews.check_review_path(out)
        watcher = progress or Silence()
        gallery = folders.target(self.wiring, target, model=None, progress=watcher)
        if table is not None:
            reviews.check_apart(table, gallery)
        found = bootstrapping.bootstrap(
            self.wiring,
            gallery,
            captioner=captioner,
            threshold=threshold,
            write=write,
            review=review,
            progress=watcher,
        )
        if table is not None:
            reviews.save_review(found.review, table)
        return found

    def train(
        self,
        target: Path | str,
        *,
        start: str,
        out: Path | str,
        recipe: Recipe | None = None,
        questions: Path | str | None = None,
        held_out: float = 0.1,
        synthetic: bool = False,
        device: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any] | None:
        """Fine-tune the model `start` on a gallery's pairs, or on questions about its pictures, into a folder.

        Pairs that a model wrote are trained on, but never evaluated, where `synthetic` asks for them. The report says
        what was measured before and after; `out/model` is the model of the best epoch. The same call goes on after a
        kill. Of several processes that torchrun started, only the first one gets the report.
        """
        wiring = Wiring(self.settings.model_copy(update={"device": device} if device else {}), self.wiring.say)
        try:
            return training.train(
                wiring,
                target,
                start=start,
                out=out,
                recipe=recipe or DEFAULTS["match"],
                questions=questions,
                held_out=held_out,
                synthetic=synthetic,
                progress=progress or Silence(),
            )
        finally:
            wiring.close()

    # The same for strangers: names of galleries only, never folders

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
        """Search as `search` does, but never look at folders."""
        pages.check_sizes(k, candidates)
        pages.check_query(text, image)
        gallery = self.gallery(name)
        return pages.search_page(self.wiring, gallery, text, image, k=k, candidates=candidates, rerank=rerank)

    def search_batch(self, name: str, texts: Sequence[str], ks: Sequence[int]) -> list[Page]:
        """Answer several texts by the first stage alone, in one pass: the pages are those of one at a time."""
        for k in ks:
            pages.check_sizes(k)
        return pages.search_pages(self.wiring, self.gallery(name), texts, ks)

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
        pages.check_sizes(k, candidates)
        gallery = self.gallery(name)
        if texts is None:
            return pages.lookup_page(self.wiring, gallery, image, k=k, candidates=candidates, rerank=rerank)
        pages.require_model(gallery, "a lookup")
        return self._lookup_among(image, texts, "texts", gallery, None, k, candidates, rerank)

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

    def _lookup_among(
        self,
        image: Image | Path | str | bytes,
        texts: Sequence[str],
        origin: str,
        gallery: Gallery | None,
        model: str | None,
        k: int,
        candidates: int | None,
        rerank: bool,
    ) -> Page:
        return pages.lookup_page_among(
            self.wiring,
            image,
            texts,
            origin=origin,
            gallery=gallery,
            model=model,
            k=k,
            candidates=candidates,
            rerank=rerank,
        )
