"""Sightline for strangers, as the service offers it: names of galleries and never folders, and jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from PIL.Image import Image

from api.doors import embedding, exports, folders, galleries, jobs, pages, pictures
from api.doors.evaluations import LEAST_CANDIDATES, Wanted
from api.doors.exports import Format
from api.doors.ranking import Asked, Ranking
from api.doors.watching import Watch
from api.errors import DOMAIN
from api.library import Sightline, Silence
from api.results import Exported, GalleryDetail, ModelRow, Page, Uploaded
from retrieval.evaluation.benchmark import Choice
from retrieval.features import Kind
from retrieval.models.checkpoints import Role
from retrieval.search import Read
from storage import schema
from storage.galleries import Gallery
from storage.items import Item
from storage.jobs import Job


class Hosted(Sightline):
    """A library that people reach over a network: nobody may make it read folders or download of his own accord."""

    def search_gallery(self, name: str, query: Asked, ranking: Ranking) -> Page:
        """Search as `search` does, but never look at folders, neither for pictures nor for a matcher."""
        gallery, image = self._asked(name, query, ranking)
        return pages.search_page(self.wiring, gallery, query.text, image, ranking)

    def search_gallery_steps(self, name: str, query: Asked, ranking: Ranking) -> Iterator[Page | Read]:
        """Search as `search_gallery` does, and tell of every step; `pages.search_steps` says which."""
        gallery, image = self._asked(name, query, ranking)
        return pages.search_steps(self.wiring, gallery, query.text, image, ranking)

    def search_batch(
        self, name: str, texts: Sequence[str], ks: Sequence[int], *, pooled: int | None = None
    ) -> list[Page]:
        """Answer several texts by the first stage alone, in one pass: the pages are those of one at a time."""
        sizes = [Ranking(k, rerank=False, pooled=pooled).k for k in ks]
        return pages.search_pages(self.wiring, self.gallery(name), texts, sizes, pooled=pooled)

    def lookup_gallery(
        self,
        name: str,
        image: Image | bytes,
        *,
        texts: Sequence[str] | None = None,
        k: int = 10,
        candidates: int | None = None,
        rerank: bool = True,
        matcher: str | None = None,
    ) -> Page:
        """Look up as `lookup` does, but never look at folders; given texts are read with the gallery's model."""
        ranking = Ranking(k, candidates, rerank, matcher)
        gallery = self.gallery(name)
        pages.check_offered(self.wiring, gallery, matcher)
        if texts is None:
            return pages.lookup_page(self.wiring, gallery, image, ranking)
        pages.require_model(gallery, "a lookup")
        return pages.lookup_page_among(self.wiring, image, texts, ranking, origin="texts", gallery=gallery, model=None)

    def embed_sent(
        self,
        images: Sequence[bytes],
        texts: Sequence[str],
        *,
        into: BinaryIO,
        form: Format,
        model: str | None = None,
        kind: Kind | None = None,
        projected: bool | None = None,
        every_token: bool = False,
    ) -> Exported:
        """Write the features of pictures and texts that were sent into an open file, by a model that is here."""
        wanted = embedding.choose(kind, bool(images), bool(texts), projected=projected, every_token=every_token)
        chosen = embedding.check_offered(self.wiring, model)
        found = embedding.stream(self.wiring, images or None, texts, wanted, model=chosen, progress=Silence())
        return exports.write(found, form, into)

    def texts_of(self, item_id: int, *, k: int = 5) -> Page:
        """Find the texts of an item's gallery that describe its picture best."""
        gallery, image = pictures.in_gallery(self.wiring, item_id)
        return pages.lookup_page(self.wiring, gallery, image, Ranking(k))

    def detail(self, name: str) -> GalleryDetail:
        """Tell what there is to know of a gallery before it is searched."""
        return galleries.detail(self.wiring, name)

    def page_of_items(self, name: str, *, after: int = 0, limit: int = 100) -> tuple[list[Item], int | None]:
        """List pictures of a gallery by id, from behind `after` on; also after which one the next page begins."""
        return galleries.page_of_items(self.wiring, name, after=after, limit=limit)

    def upload(self, name: str, files: Sequence[tuple[str, bytes]]) -> Uploaded:
        """Keep pictures (name and content) for a gallery, which need not be there yet."""
        return galleries.upload(self.wiring, name, files)

    def keep_picture(self, content: bytes) -> tuple[str, tuple[int, int]]:
        """Keep a picture to search by for a while, and give its digest and its size."""
        size = pictures.read(self.wiring, content).size
        return self.wiring.sent.keep(content), size

    def query_picture(self, digest: str) -> bytes:
        """Give a picture that was sent to search by, or raise QueryPictureGone."""
        return self.wiring.sent.open(digest)

    def models_at_hand(self, role: Role) -> list[ModelRow]:
        """List the models that can play a role without a download."""
        return [ModelRow(checkpoint, cached=True) for checkpoint in galleries.models_at_hand(self.wiring, role)]

    # Jobs: asked for by strangers, done by the worker

    def jobs(self, *, gallery: str | None = None, limit: int = 50) -> list[Job]:
        """List jobs, the newest first."""
        return jobs.listing(self.wiring, gallery=gallery, limit=limit)

    def job(self, job_id: int) -> Job:
        """Find a job."""
        return jobs.by_id(self.wiring, job_id)

    def cancel_job(self, job_id: int) -> Job:
        """Stop a job: at once where it waits, after its batch where it runs."""
        return jobs.cancel(self.wiring, job_id)

    def continue_job(self, job_id: int) -> Job:
        """Let a job that failed or was stopped wait again."""
        return jobs.continue_(self.wiring, job_id)

    def enqueue_index(self, name: str, folder: str | None = None, model: str | None = None) -> Job:
        """Let a folder be indexed into a gallery, or without a folder all that the gallery is made of."""
        return jobs.enqueue_index(self.wiring, name, folder, model)

    def enqueue_evaluation(
        self,
        name: str,
        *,
        candidates: int | None = None,
        rerank: bool = True,
        protocol: str | None = None,
        score: str | None = None,
        **choice: Any,
    ) -> Job:
        """Let a gallery with pairs be measured; `choice` is that of `retrieval.evaluation.benchmark.Choice`."""
        ranking = Ranking(LEAST_CANDIDATES, candidates, rerank)
        return jobs.enqueue_evaluation(self.wiring, name, Wanted(ranking, Choice(**choice), protocol, score))

    def enqueue_calibration(self, name: str) -> Job:
        """Let the match probabilities of a gallery be calibrated."""
        return jobs.enqueue_calibration(self.wiring, name)

    def enqueue_demo(self) -> Job | None:
        """Let the demo's gallery be made where there is no gallery at all."""
        return jobs.enqueue_demo(self.wiring)

    def do(self, job: Job, watch: Watch) -> None:
        """Do what a job asks for."""
        jobs.do(self.wiring, job, watch)

    # Service

    def check(self) -> None:
        """Raise unless the database can be reached and is at this program's schema."""
        schema.require_current(self.wiring.database)

    def warm_up(self, name: str) -> None:
        """Make a gallery's first look quick: the thumbnails of its first pictures, its models and newest snapshot."""
        try:
            pictures.make_first_thumbnails(self.wiring, self.gallery(name), Silence())
            if self.gallery(name).model is not None:
                # A service downloads nothing that nobody asked for.
                folders.require_model_here(self.wiring, self.gallery(name), None)
                self.search_gallery(name, Asked("a picture"), Ranking(1, candidates=1))
        except DOMAIN as error:
            self.wiring.say(f"gallery {name} is not ready: {error}")

    def _asked(self, name: str, query: Asked, ranking: Ranking) -> tuple[Gallery, Image | bytes | None]:
        pages.check_query(query.text, query.picture, ranking.matcher)
        gallery = self.gallery(name)
        pages.check_offered(self.wiring, gallery, ranking.matcher)
        if isinstance(query.picture, int):
            return gallery, pictures.in_gallery(self.wiring, query.picture)[1]
        if isinstance(query.picture, str):
            return gallery, self.query_picture(query.picture)
        return gallery, query.picture
