"""Sightline as a Python object: the same verbs as the command line, which calls them, as do the HTTP routes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from PIL.Image import Image

from api.doors import (
    bootstrapping,
    calibrating,
    comparing,
    embedding,
    evaluated,
    evaluations,
    exports,
    folders,
    galleries,
    pages,
    pictures,
    reports,
    reviews,
    task_runs,
    training,
    trec,
)
from api.doors.comparing import Comparison
from api.doors.embedding import Pictures
from api.doors.evaluations import Wanted
from api.doors.ranking import Ranking
from api.doors.task_runs import TaskEvaluated
from api.errors import UsageError
from api.results import (
    Bootstrapped,
    Calibration,
    Evaluated,
    EvaluationRow,
    Exported,
    Features,
    Indexed,
    ItemDetail,
    ModelRow,
    Page,
)
from api.settings import Settings, read_settings
from api.wiring import Say, Wiring
from indexer.build import Progress
from indexer.sources.layouts import Reading
from retrieval.evaluation.benchmark import Choice
from retrieval.features import Kind
from retrieval.models import hub
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.training.finetuning.recipe import DEFAULTS, Recipe
from retrieval.types import Answer
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
        return galleries.listing(self.wiring)

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
        """Forget a gallery, with the pictures that were uploaded into it; those of a folder stay where they are."""
        galleries.remove(self.wiring, name)

    def failed(self, name: str) -> list[Item]:
        """List the files of a gallery that could not be read, with reasons."""
        return galleries.failed(self.wiring, name)

    def item(self, item_id: int) -> Item:
        """Find a living item."""
        return pictures.item(self.wiring, item_id)

    def describe_item(self, item_id: int) -> ItemDetail:
        """Find a living item, the gallery it is of, and when it was first seen."""
        return pictures.item_detail(self.wiring, item_id)

    def original(self, item_id: int) -> tuple[Item, BinaryIO]:
        """Open the file of an item's picture, which must be as it was when it was indexed."""
        return pictures.original(self.wiring, item_id)

    def thumbnail(self, item_id: int) -> tuple[Item, bytes]:
        """Give a small JPEG of an item's picture, made once for each content."""
        return pictures.small(self.wiring, item_id)

    def models(self) -> list[ModelRow]:
        """List the models that have names, and whether their weights are here."""
        return [ModelRow(row, bool(row.roles) and hub.is_cached(row, row.roles[0])) for row in CHECKPOINTS.values()]

    # The verbs

    def index(
        self,
        source: Path | str,
        *,
        gallery: str | None = None,
        model: str | None = None,
        layout: str | None = None,
        images: Path | str | None = None,
        split: str | None = None,
        image_column: str | None = None,
        text_columns: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Indexed:
        """Make a gallery hold exactly what a folder or a dataset holds; what did not change is not read again.

        A dataset is an annotation file (`layout` names what it is like, where it does not show), an archive, or a
        folder of archives. `images` is the folder that the pictures' names are relative to, `split` the only one that
        is wanted; the columns are those of a table. What was said once is remembered with the gallery.
        """
        place = None if images is None else Path(images)
        return folders.index(
            self.wiring,
            source,
            gallery=gallery,
            model=model,
            progress=progress or Silence(),
            reading=Reading(layout, place, split, image_column, tuple(text_columns)),
        )

    def search(
        self,
        target: Path | str,
        text: str | None = None,
        *,
        image: Image | Path | str | None = None,
        k: int = 10,
        candidates: int | None = None,
        rerank: bool = True,
        matcher: str | None = None,
        pooled: int | None = None,
        min_match: float | None = None,
        target_precision: float | None = None,
        model: str | None = None,
        progress: Progress | None = None,
    ) -> Page:
        """Find pictures by text, by picture or by both.

        `candidates` is how many hits of the first stage are reranked; the default suits the matcher and the device.
        `matcher` names another model than the gallery's to rerank by. `pooled` items are looked at closely where an
        item has several vectors: a first pass takes the mean of each, which is quicker and may miss some.

        `min_match` shows hits of at least that match probability alone. `target_precision` chooses it by the gallery's
        calibration, so that this share of the hits shown is right. Where no hit reaches it, the page says that nothing
        matches, with the best below.
        """
        ranking = self._ranking(k, candidates, rerank, matcher, pooled, min_match, target_precision)
        pages.check_query(text, image, matcher)
        gallery = folders.target(self.wiring, target, model=model, progress=progress or Silence())
        return pages.search_page(self.wiring, gallery, text, image, ranking)

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
        matcher: str | None = None,
        model: str | None = None,
        progress: Progress | None = None,
    ) -> Page:
        """Find the texts that describe a picture best: those of a gallery, or the given ones."""
        ranking = self._ranking(k, candidates, rerank, matcher)
        gallery = None
        if target is not None:
            gallery = folders.target(self.wiring, target, model=model, progress=progress or Silence())
        if texts is not None:
            return pages.lookup_page_among(
                self.wiring, image, texts, ranking, origin=texts_name, gallery=gallery, model=model
            )
        if gallery is None:
            raise UsageError("gallery", "a lookup needs texts to choose from: --gallery NAME or --texts FILE")
        return pages.lookup_page(self.wiring, gallery, image, ranking)

    def ask(
        self, what: int | Path | str | Image | bytes, question: str | None = None, *, model: str | None = None
    ) -> Answer:
        """Describe an item (by id or file) or a picture, or answer a question about it."""
        return pictures.ask(self.wiring, what, question, model=model)

    def embed(
        self,
        images: Pictures | None = None,
        *,
        texts: str | Sequence[str] | None = None,
        model: str | None = None,
        pairs: bool = False,
        projected: bool | None = None,
        every_token: bool = False,
        progress: Progress | None = None,
    ) -> Features:
        """Give the features of pictures, of texts, or of picture i with text i (`pairs`), as one array in memory.

        `images` are pictures, or a folder with all below it, or the name of a gallery, whose stored embeddings are
        given. `projected` vectors lie in the space where pictures and texts are compared, which is meant unless
        somebody says otherwise; pairs have no such vectors. docs/features.md tells the shapes.
        """
        return embedding.collect(self._stream(images, texts, model, pairs, projected, every_token, progress))

    def embed_into(
        self,
        out: Path | str | BinaryIO,
        images: Pictures | None = None,
        *,
        texts: str | Sequence[str] | None = None,
        model: str | None = None,
        pairs: bool = False,
        projected: bool | None = None,
        every_token: bool = False,
        progress: Progress | None = None,
    ) -> Exported:
        """Write what `embed` gives, batch by batch: as .npy, .parquet or .json by the path's name, or JSON into a file.

        A file of that name appears when all is done; an array has a .npy.names.json beside it.
        """
        asked = (images, texts, model, pairs, projected, every_token, progress)
        if not isinstance(out, (Path, str)):
            return exports.write(self._stream(*asked), "json", out)
        place, form = exports.check_path(out)
        return exports.save(self._stream(*asked), place, form)

    def evaluate(
        self,
        target: Path | str,
        *,
        candidates: int | None = None,
        rerank: bool = True,
        queries: int | None = None,
        seed: int = 0,
        synthetic: bool = False,
        matcher: str | None = None,
        pooled: int | None = None,
        protocol: str | None = None,
        score: str | None = None,
        split: str | None = None,
        subset: int | None = None,
        folds: int = 1,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Evaluated:
        """Measure a gallery over its pairs in both directions, and store the result with every query's page.

        `protocol` names whose rules are followed (`retrieval.evaluation.protocols`), by default those of the gallery's
        model; `candidates` and `score` ("itc", "itm", "itm+itc" or "probability") depart from it. `split`, `subset`,
        `folds`, `queries`, `seed` and `synthetic` choose what is measured: see `retrieval.evaluation.benchmark.Choice`.
        `matcher` and `pooled` are those of `search`. `resume` goes on with a run that did not come to its end.
        """
        choice = Choice(split, subset, folds, queries, seed, synthetic)
        ranking = self._ranking(evaluations.LEAST_CANDIDATES, candidates, rerank, matcher, pooled)
        wanted = Wanted(ranking, choice, protocol, score)
        watcher = progress or Silence()
        gallery = folders.target(self.wiring, target, model=None, progress=watcher)
        return evaluations.evaluate(self.wiring, gallery, wanted, resume=resume, progress=watcher)

    def calibrate(
        self,
        target: Path | str,
        *,
        matcher: str | None = None,
        queries: int | None = None,
        progress: Progress | None = None,
    ) -> list[Calibration]:
        """Hold a gallery's match probabilities against its pairs, and keep the fit: searches use it from then on.

        Without pairs, captions are written for the purpose. `queries` of each direction are asked, 400 unless said
        otherwise. `matcher` is calibrated in place of the gallery's own.
        """
        if matcher is not None:
            self.wiring.matcher(matcher)
        watcher = progress or Silence()
        gallery = folders.target(self.wiring, target, model=None, progress=watcher)
        return calibrating.calibrate(self.wiring, gallery, matcher=matcher, queries=queries, progress=watcher)

    def evaluation(self, evaluation_id: int) -> Evaluated:
        """Read a stored evaluation."""
        return evaluated.by_id(self.wiring, evaluation_id)

    def evaluation_of_task(self, evaluation_id: int) -> dict[str, Any] | None:
        """Read what an evaluation of captions, answers or hard negatives measured; None for one of recall."""
        return evaluated.of_task(self.wiring, evaluation_id)

    def evaluation_rows(self, name: str) -> list[EvaluationRow]:
        """List all evaluations of a gallery, the newest first: of every task, and those that can go on."""
        gallery = self.gallery(name)
        with self.wiring.database.reading() as session:
            return evaluated.rows(session, gallery)

    def forget_evaluation(self, evaluation_id: int) -> None:
        """Forget an evaluation, with the pages of its queries."""
        evaluated.forget(self.wiring, evaluation_id)

    def evaluate_task(
        self,
        target: Path | str,
        task: task_runs.Name,
        *,
        file: Path | str | None = None,
        annotations: Path | str | None = None,
        images: Path | str | None = None,
        model: str | None = None,
        subset: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> TaskEvaluated:
        """Measure what a gallery's models say of its pictures, and store the result.

        "caption" scores captions against the given texts. "vqa" scores answers to the questions of `file` (VQAv2's,
        with `annotations`, or lines of JSON). "negatives" tells captions from the false ones beside them in `file`; its
        pictures may lie in the folder `images`. `model` names another captioner, answerer or matcher than the
        gallery's.
        """
        paths = [None if path is None else Path(path) for path in (file, annotations, images)]
        asked = task_runs.Task(task, paths[0], paths[1], paths[2], model, subset, seed)
        watcher = progress or Silence()
        gallery = folders.target(self.wiring, target, model=None, progress=watcher)
        return task_runs.run(self.wiring, gallery, asked, progress=watcher)

    def check_report_path(self, path: Path | str) -> None:
        """Raise UsageError where no report can be written, before hours go into one."""
        reports.check_path(path)

    def report(self, evaluation_id: int, path: Path | str) -> Path:
        """Write an evaluation as one self-contained HTML page."""
        return reports.save(self.wiring, evaluation_id, path)

    def compare(self, first: int, second: int) -> Comparison:
        """Hold two evaluations against each other, over the queries that both asked."""
        return comparing.compare(self.wiring, first, second)

    def report_comparison(self, comparison: Comparison, path: Path | str) -> Path:
        """Write a comparison as one self-contained HTML page."""
        return comparing.save(comparison, path)

    def export_trec(self, evaluation_id: int, folder: Path | str) -> list[Path]:
        """Write an evaluation's runs and judgements as TREC files, and give their names."""
        return trec.export(self.wiring, evaluation_id, folder)

    def evaluations(self, name: str) -> list[Evaluated]:
        """List what was measured of a gallery, the newest first."""
        gallery = self.gallery(name)
        with self.wiring.database.reading() as session:
            return evaluated.of_gallery(session, gallery)

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

    def _stream(
        self,
        images: Pictures | None,
        texts: str | Sequence[str] | None,
        model: str | None,
        pairs: bool,
        projected: bool | None,
        every_token: bool,
        progress: Progress | None,
    ) -> embedding.Stream:
        """Begin to embed; nothing is computed before the stream is read."""
        several = [texts] if isinstance(texts, str) else texts or []
        kind: Kind | None = "multimodal" if pairs else None
        wanted = embedding.choose(kind, images is not None, bool(several), projected=projected, every_token=every_token)
        return embedding.stream(self.wiring, images, several, wanted, model=model, progress=progress or Silence())

    def _ranking(
        self,
        k: int,
        candidates: int | None,
        rerank: bool,
        matcher: str | None,
        pooled: int | None = None,
        min_match: float | None = None,
        target_precision: float | None = None,
    ) -> Ranking:
        """Say how a page is made. What cannot be is told before a folder is indexed for it."""
        ranking = Ranking(k, candidates, rerank, matcher, pooled, min_match, target_precision)
        if matcher is not None:
            self.wiring.matcher(matcher)
        return ranking
