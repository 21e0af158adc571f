"""One gallery as its page shows it, what it holds, what is sent to it, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from api.doors import demo, thresholds
from api.results import GalleryDetail, Uploaded
from api.wiring import ONLY_POSTCARDS, RENDERED_MODEL, Wiring
from indexer.decode import check_bytes
from indexer.errors import BadCaptions, DecodeFailed
from indexer.sources.folder import CAPTIONS, check_captions
from indexer.uri import from_uri
from retrieval.errors import RetrievalError
from retrieval.models import hub
from retrieval.models.checkpoints import Checkpoint, Role, companion
from storage import galleries, items, jobs
from storage.errors import GalleryAtWork, UploadRefused
from storage.galleries import Gallery, GallerySummary
from storage.holders import new_holder
from storage.items import Item

EXAMPLES = 6
LOOKED_AT = 10
"""Pictures that tell whether a gallery holds drawn postcards."""
LONGEST_EXAMPLE = 60
"""Characters of a query that is offered: a caption of three sentences is nothing that a person would type."""


def listing(wiring: Wiring) -> list[GallerySummary]:
    """List all galleries by name."""
    with wiring.database.reading() as session:
        return galleries.summaries(session)


def detail(wiring: Wiring, name: str) -> GalleryDetail:
    """Tell what there is to know of a gallery before anybody searches it."""
    with wiring.database.reading() as session:
        gallery = galleries.by_name(session, name)
        summary = galleries.summary(session, gallery.id)
        pairs = items.count_pairs(session, gallery.id)
        calibration = thresholds.of_gallery(session, gallery, thresholds.IMAGES)
        first = items.page(session, gallery.id, "image", after=0, limit=LOOKED_AT)
        at_work = jobs.active(session, name)
        texts = items.short_texts(session, gallery.id, most=LONGEST_EXAMPLE, count=EXAMPLES)
    return GalleryDetail(
        summary=summary,
        examples=demo.QUERIES if demo.is_demo(gallery) else tuple(texts),
        matcher=_who(wiring, gallery, "matcher"),
        captioner=_who(wiring, gallery, "captioner"),
        answerer=_who(wiring, gallery, "answerer"),
        calibration=calibration,
        warning=_warning(wiring, gallery, first),
        pairs=pairs,
        candidates=_usual_depth(wiring, gallery),
        jobs=tuple(at_work),
    )


def _warning(wiring: Wiring, gallery: Gallery, first: Sequence[Item]) -> str | None:
    """Say what makes a gallery's numbers worth little: a model of drawn postcards over anything else."""
    is_of_postcards = gallery.model is not None and gallery.model.split("-")[0] == RENDERED_MODEL
    if not first or not is_of_postcards or wiring.are_rendered(from_uri(item.uri) for item in first):
        return None
    return ONLY_POSTCARDS.format(gallery.model)


def page_of_items(wiring: Wiring, name: str, *, after: int, limit: int) -> tuple[list[Item], int | None]:
    """List the pictures of a gallery by id, from behind `after` on; also after which one the next page begins."""
    with wiring.database.reading() as session:
        gallery = galleries.by_name(session, name)
        found = items.page(session, gallery.id, "image", after=after, limit=limit + 1)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def failed(wiring: Wiring, name: str) -> list[Item]:
    """List the files of a gallery that could not be read, with reasons."""
    with wiring.database.reading() as session:
        return items.failed(session, galleries.by_name(session, name).id)


def models_at_hand(wiring: Wiring, role: Role) -> list[Checkpoint]:
    """List the models that can play a role without a download: of the table, of the galleries, and the server's."""
    with wiring.database.reading() as session:
        known = galleries.models(session)
    names = wiring.encoders_at_hand(known) if role == "encoder" else wiring.at_hand(role, known)
    return [wiring.checkpoint(name) for name in names]


def upload(wiring: Wiring, name: str, files: Sequence[tuple[str, bytes]]) -> Uploaded:
    """Keep pictures for a gallery, and a captions.jsonl; what is neither is named with a reason."""
    galleries.check_name(name)
    skipped: list[tuple[str, str]] = []
    for file, content in files:
        try:
            _check_content(wiring, file, content)
            wiring.uploads.keep(name, file, content)
        except (DecodeFailed, BadCaptions, UploadRefused) as error:
            skipped.append((file, error.reason))
    return Uploaded(len(files) - len(skipped), tuple(skipped))


def remove(wiring: Wiring, name: str) -> None:
    """Forget a gallery, with the pictures that were uploaded into it; those of a server folder stay where they are.

    Pictures that were uploaded for a gallery that was never made can be deleted by its name, too.
    """
    with wiring.uploads.removing() as set_aside, wiring.database.writing() as session:
        jobs.requeue_orphans(session)
        # Before it is looked whether one runs: so a claim of this moment is waited for.
        jobs.stop_waiting(session, name)
        at_work = jobs.running(session, name)
        if at_work is not None:
            raise GalleryAtWork(name, at_work.id, at_work.kind)
        gallery = None
        if galleries.exists(session, name) or not wiring.uploads.is_any(name):
            gallery = galleries.by_name(session, name)
            galleries.acquire_lease(session, gallery, new_holder())
            galleries.remove(session, gallery.id)
        set_aside(name)
    if gallery is not None:
        wiring.snapshots.drop_files(gallery.id)


def _check_content(wiring: Wiring, file: str, content: bytes) -> None:
    """Raise unless a file may be a picture by its beginning, or is the gallery's captions.jsonl."""
    if PurePosixPath(file).name != CAPTIONS:
        check_bytes(content, pixel_limit=wiring.settings.pixel_limit)
    elif file == CAPTIONS:
        check_captions(content)
    else:
        raise UploadRefused(file, f"{CAPTIONS} is read at the top only; send it without a folder before its name")


def _who(wiring: Wiring, gallery: Gallery, role: Role) -> str | None:
    """Name the model that plays a role for a gallery; None where it has none, or none whose weights are here."""
    with suppress(RetrievalError):
        if gallery.model is not None:
            chosen = companion(wiring.checkpoint_here(gallery.model), role)
            return chosen.name if chosen.not_run is None and hub.is_cached(chosen, role) else None
    return None


def _usual_depth(wiring: Wiring, gallery: Gallery) -> int:
    """Say how many candidates are reranked unless the user says; none where there is no model."""
    with suppress(RetrievalError):
        if gallery.model is not None:
            wiring.checkpoint_here(gallery.model)
            return wiring.depth(gallery)
    return 0
