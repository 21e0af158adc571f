"""Work that a service does by itself: checked when it is asked for, kept as a row, done by the worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from api.doors import calibrating, demo, embedding, evaluations, folders, places
from api.doors.evaluations import LEAST_CANDIDATES, Wanted
from api.doors.pages import require_model
from api.doors.pictures import make_first_thumbnails
from api.doors.ranking import MOST_CANDIDATES, Ranking
from api.doors.watching import Watch
from api.errors import FolderForbidden, NotNow, Overloaded, UsageError
from api.paths import expanded
from api.wiring import Wiring
from indexer.errors import SourceMissing
from indexer.sources.opening import Place, from_source, is_dataset
from indexer.uri import to_uri
from retrieval.errors import NoModel, NoPairs, NotRun, RoleMissing
from retrieval.evaluation import protocols
from retrieval.evaluation.benchmark import Choice
from retrieval.models.checkpoints import companion
from storage import galleries, items, jobs
from storage.db import Session
from storage.errors import BadGalleryName, GalleryNotFound, ModelMismatch
from storage.galleries import Gallery
from storage.jobs import Job

MOST_WAITING = 100


def enqueue_index(wiring: Wiring, name: str, folder: str | None, model: str | None) -> Job:
    """Let a folder be indexed into a gallery, or without a folder all that the gallery is made of."""
    with _named("gallery"):
        galleries.check_name(name)
    known = _find(wiring, name)
    if model is not None:
        _check_model(wiring, known, model)
    if folder is None:
        require_places(wiring, name)
    else:
        folder = str(allowed_folder(wiring, folder))
        if known is not None:
            places.check_apart(Path(folder), known)
    folders.require_model_here(wiring, known, model)
    return _enqueue(wiring, "index", name, {"kind": "index", "gallery": name, "folder": folder, "model": model})


def enqueue_evaluation(wiring: Wiring, name: str, asked: Wanted) -> Job:
    """Let a gallery with pairs be measured."""
    if asked.protocol is not None:
        protocols.by_name(asked.protocol)
    with _named("gallery"):
        gallery = folders.by_name(wiring, name)
        require_model(gallery, "an evaluation")
        if not _count_pairs(wiring, gallery):
            raise NoPairs(name)
        _require_bounded(wiring, gallery, asked)
        _require_weights_of_evaluation(wiring, gallery, rerank=asked.ranking.rerank)
    ranking = {"candidates": asked.ranking.candidates, "rerank": asked.ranking.rerank}
    request = {**ranking, **asdict(asked.choice), "protocol": asked.protocol, "score": asked.score}
    return _enqueue(wiring, "evaluate", name, {"kind": "evaluate", "gallery": name, **request})


def enqueue_calibration(wiring: Wiring, name: str) -> Job:
    """Let the match probabilities of a gallery be calibrated."""
    with _named("gallery"):
        _require_weights_of_calibration(wiring, folders.by_name(wiring, name))
    return _enqueue(wiring, "calibrate", name, {"kind": "calibrate", "gallery": name})


def enqueue_demo(wiring: Wiring) -> Job | None:
    """Let the demo's gallery be made on a home where nothing was ever done; None elsewhere."""
    with wiring.database.writing() as session:
        if galleries.summaries(session) or jobs.listing(session, limit=1):
            return None
        return jobs.enqueue(session, "demo", demo.GALLERY, {"kind": "demo"})


def do(wiring: Wiring, job: Job, watch: Watch) -> None:
    """Do what a job asks for."""
    match job.request or {}:
        case {"kind": "index", "gallery": str(name), "folder": folder, "model": model}:
            for place in require_places(wiring, name) if folder is None else [Place(allowed_folder(wiring, folder))]:
                folders.index(
                    wiring,
                    place.path,
                    gallery=name,
                    model=model,
                    progress=watch,
                    downloads="never",
                    within=wiring.settings.folders,
                    reading=place.reading,
                )
            make_first_thumbnails(wiring, folders.by_name(wiring, name), watch)
        case {"kind": "evaluate", "gallery": str(name)} as asked:
            choice = {one.name: asked[one.name] for one in fields(Choice) if one.name in asked}
            ranking = Ranking(LEAST_CANDIDATES, asked["candidates"], asked["rerank"])
            wanted = Wanted(ranking, Choice(**choice), asked.get("protocol"), asked.get("score"))
            gallery = folders.by_name(wiring, name)
            _require_weights_of_evaluation(wiring, gallery, rerank=asked["rerank"])
            # A job that a dying service left behind goes on where it was.
            evaluated = evaluations.evaluate(wiring, gallery, wanted, resume=True, progress=watch)
            watch.report = lambda: {"evaluation": evaluated.id}
        case {"kind": "calibrate", "gallery": str(name)}:
            gallery = folders.by_name(wiring, name)
            _require_weights_of_calibration(wiring, gallery)
            calibrating.calibrate(wiring, gallery, matcher=None, queries=None, progress=watch)
        case {"kind": "demo"}:
            demo.prepare(wiring, watch)
        case request:
            raise UsageError("kind", f"this version does not know how to do {request}")


def listing(wiring: Wiring, *, gallery: str | None, limit: int) -> list[Job]:
    """List jobs, the newest first."""
    with wiring.database.reading() as session:
        return jobs.listing(session, gallery=gallery, limit=limit)


def by_id(wiring: Wiring, job_id: int) -> Job:
    """Find a job."""
    with wiring.database.reading() as session:
        return jobs.by_id(session, job_id)


def cancel(wiring: Wiring, job_id: int) -> Job:
    """Stop a job: at once where it waits, after its batch where it runs."""
    with wiring.database.writing() as session:
        return jobs.cancel(session, job_id)


def continue_(wiring: Wiring, job_id: int) -> Job:
    """Let a job that failed or was stopped wait again."""
    with wiring.database.writing() as session:
        _require_room(session)
        return jobs.continue_(session, job_id)


def require_places(wiring: Wiring, name: str) -> list[Place]:
    """Name what a gallery is made of: its sources, and what was uploaded into it. There must be something."""
    known = _find(wiring, name)
    found = [from_source(source) for source in (known.sources if known else ())]
    uploaded = wiring.uploads.folder(name)
    if os.path.isdir(uploaded) and to_uri(uploaded.resolve()) not in (known.sources if known else ()):
        found.append(Place(uploaded))
    if not found:
        sentence = f"there is no gallery {name!r} yet, and no picture was uploaded for one: name a folder"
        raise UsageError("folder", sentence)
    for place in found:
        if not os.path.exists(place.path):
            raise SourceMissing(place.path)
        if is_dataset(place.path):
            _require_allowed(wiring, place.path)
    return found


def _require_allowed(wiring: Wiring, dataset: Path) -> None:
    """Raise UsageError for a dataset elsewhere: whoever writes it says which files of this machine are pictures."""
    roots = wiring.settings.allowed_folders
    if not any(dataset.is_relative_to(root.resolve()) for root in roots):
        raise UsageError(
            "folder",
            f"the dataset {dataset} lies in no folder that this service may index: its keeper names some in "
            f"SIGHTLINE_FOLDERS, or indexes it at the command line: sightline index {dataset}",
        )


def allowed_folder(wiring: Wiring, folder: str) -> Path:
    """Give the folder that a stranger named, links followed; FolderForbidden unless this service may index it."""
    place = expanded(folder)
    if not place.is_absolute():
        raise UsageError("folder", f"the folder is {folder!r}; name it from the root on, as /srv/photos")
    try:
        found = place.resolve()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle; ValueError: a zero byte
        raise SourceMissing(place) from None
    roots = wiring.settings.allowed_folders
    if not any(found.is_relative_to(root.resolve()) for root in roots):
        raise FolderForbidden(folder, roots)
    # Only now: whether a folder is there is nothing to tell about those that nobody may name.
    if not os.path.isdir(found):  # False, too, for a name that is too long, and where the service may not look
        raise SourceMissing(place)
    return found


def _check_model(wiring: Wiring, gallery: Gallery | None, model: str) -> None:
    embedding.check_offered(wiring, model)
    if gallery is not None and gallery.model is not None and wiring.checkpoint(model).name != gallery.model:
        raise NotNow("model", str(ModelMismatch(gallery.name, gallery.model, model)))


def _enqueue(wiring: Wiring, kind: str, gallery: str, request: dict[str, Any]) -> Job:
    with wiring.database.writing() as session:
        _require_room(session)
        return jobs.enqueue(session, kind, gallery, request)


def _require_room(session: Session) -> None:
    if jobs.count_waiting(session) >= MOST_WAITING:
        raise Overloaded("jobs", MOST_WAITING)


def _count_pairs(wiring: Wiring, gallery: Gallery) -> int:
    with wiring.database.reading() as session:
        return items.count_pairs(session, gallery.id)


def _require_bounded(wiring: Wiring, gallery: Gallery, wanted: Wanted) -> None:
    """Raise NotNow for a protocol that reads every pair of a large gallery: its pages would fill the disk."""
    protocol = None if wanted.protocol is None else protocols.by_name(wanted.protocol)
    if protocol is None or protocol.candidates or protocol.scoring == "itc" or wanted.ranking.candidates:
        return
    with wiring.database.reading() as session:
        counted = galleries.summary(session, gallery.id)
    if max(counted.items, counted.texts) > MOST_CANDIDATES:
        sentence = f"protocol {protocol.name} reads every pair, and {gallery.name} has over {MOST_CANDIDATES} items"
        raise NotNow("protocol", f"{sentence}: say how many candidates")


def _require_weights_of_evaluation(wiring: Wiring, gallery: Gallery, *, rerank: bool) -> None:
    """Raise WeightsElsewhere where measuring a gallery would download something."""
    model, command = require_model(gallery, "an evaluation"), f"sightline evaluate {gallery.name}"
    chosen = wiring.require_here(model, "encoder", command=command, field="gallery")
    if rerank and "matcher" in chosen.roles:
        wiring.require_here(model, "matcher", command=command, field="gallery")


def _require_weights_of_calibration(wiring: Wiring, gallery: Gallery) -> None:
    """Raise WeightsElsewhere where calibrating a gallery would download something: a captioner too, without pairs."""
    model, command = require_model(gallery, "a calibration"), f"sightline calibrate {gallery.name}"
    wiring.require_here(model, "encoder", command=command, field="gallery")
    chosen = wiring.matcher(model)
    wiring.require_here(model, "matcher", command=command, field="gallery")
    if not _count_pairs(wiring, gallery):
        speaker = companion(chosen, "captioner")
        wiring.require_here(speaker.name, "captioner", command=command, field="gallery")


def _find(wiring: Wiring, name: str) -> Gallery | None:
    with wiring.database.reading() as session:
        return galleries.by_name(session, name) if galleries.exists(session, name) else None


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Say which part of the request is at fault for a gallery's wrong name, or for what the gallery cannot do."""
    try:
        yield
    except (BadGalleryName, GalleryNotFound) as error:
        raise UsageError(field, str(error)) from error
    except (NoModel, NoPairs, NotRun, RoleMissing) as error:
        raise NotNow(field, str(error)) from error
