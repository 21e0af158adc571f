"""Folders become galleries: which gallery, which model, and the index run itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from api.doors.watching import watched
from api.errors import UsageError
from api.paths import expanded
from api.results import Indexed
from api.wiring import ONLY_POSTCARDS, RENDERED_MODEL, Wiring
from indexer.build import Builder, Progress, Report
from indexer.errors import SourceMissing
from indexer.sources.folder import CaptionRecord, captions
from indexer.uri import to_uri
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.roles import Encoder
from storage import galleries
from storage.db import Session
from storage.errors import GalleryBusy, ModelMismatch
from storage.galleries import Gallery
from storage.lease import write_lease

BATCH_WITHOUT_MODEL = 32
OF_PEOPLE = ("demo", "uploads")
"""Folders in the home that hold pictures for people."""

Downloads = Literal["always", "for a new gallery", "never"]
"""When weights that nobody asked for by name may be fetched."""


def index(
    wiring: Wiring,
    folder: Path | str,
    *,
    gallery: str | None,
    model: str | None,
    progress: Progress,
    downloads: Downloads = "always",
    within: Sequence[Path] | None = None,
) -> Indexed:
    """Make a gallery hold exactly what a folder holds.

    Captions are read and the model is loaded first: where that fails, no empty gallery is left behind.
    `downloads` says when a gallery without a model looks for one on the hub. `within` names folders out of which no
    link may lead.
    """
    place = _existing(folder)
    require_outside_home(wiring, place)
    described = list(captions(place, within))
    known = _known_gallery(wiring, place, gallery)
    checkpoint = _choose_model(wiring, known, place, model or wiring.settings.model, downloads)
    encoder = None
    if checkpoint is not None:
        wiring.announce_download(checkpoint, "encoder")
        encoder = wiring.encoder(checkpoint)
    with wiring.database.writing() as session:
        # Looked up again: another process may have made it while the model was loading.
        chosen = _find_gallery(session, place, gallery) or galleries.create(
            session, gallery or _free_name(session, place)
        )
        galleries.add_source(session, chosen.id, to_uri(place))
        if checkpoint is not None and encoder is not None:
            chosen = _fix_model(session, chosen, checkpoint, encoder)
    builder = Builder(
        wiring.database,
        wiring.snapshots,
        chosen,
        encoder,
        progress,
        pixel_limit=wiring.settings.pixel_limit,
        batch=wiring.batch(checkpoint) if checkpoint else BATCH_WITHOUT_MODEL,
        threads=wiring.settings.decode_threads,
        within=within,
    )
    report = _run_as_job(wiring, chosen, builder, place, described, progress)
    if known is not None and known.model is None and chosen.model is not None:
        for other in (source for source in known.sources if source != to_uri(place)):
            wiring.say(f"gallery {chosen.name} is also made of {other}: index it again to embed it")
    return Indexed(chosen.name, chosen.model, by_name(wiring, chosen.name).revision, report)


def target(wiring: Wiring, named: Path | str, *, model: str | None, progress: Progress) -> Gallery:
    """Give the gallery that a folder (brought up to date first) or a name means."""
    if not means_folder(wiring, named):
        gallery = by_name(wiring, str(named))
        if model is not None and wiring.checkpoint(model).name != gallery.model:
            raise ModelMismatch(gallery.name, gallery.model or "none", model)
        return gallery
    try:
        indexed = index(wiring, named, gallery=None, model=model, progress=progress, downloads="for a new gallery")
        return by_name(wiring, indexed.gallery)
    except GalleryBusy as error:
        wiring.say(f"{error}; searching what is indexed so far")
        return by_name(wiring, error.name)


def means_folder(wiring: Wiring, named: Path | str) -> bool:
    """Tell a folder from a gallery's name: a path is a folder; where a bare word could be both, the gallery wins.

    The gallery of that very folder is brought up to date, so there it makes no difference.
    """
    if isinstance(named, Path) or "/" in named or named.startswith((".", "~")):
        return True
    if not Path(named).is_dir():
        return False
    with wiring.database.reading() as session:
        if not galleries.exists(session, named):
            return True
        if to_uri(Path(named).resolve()) in galleries.by_name(session, named).sources:
            return True
    wiring.say(f"taking the gallery {named}; the folder of that name is ./{named}")
    return False


def by_name(wiring: Wiring, name: str) -> Gallery:
    """Find a gallery by name."""
    with wiring.database.reading() as session:
        return galleries.by_name(session, name)


def name_of(wiring: Wiring, named: str) -> str:
    """Give the name of the gallery that a name or a folder means, without indexing anything."""
    if expanded(named).is_dir():
        with wiring.database.reading() as session:
            found = galleries.by_source(session, to_uri(expanded(named).resolve()))
        if found is not None:
            return found.name
    return named


def require_outside_home(wiring: Wiring, place: Path) -> None:
    """Raise UsageError for a folder of Sightline's own: its thumbnails would be pictures of a gallery."""
    home = wiring.settings.home.resolve()
    if place == home or (place.is_relative_to(home) and place.relative_to(home).parts[0] not in OF_PEOPLE):
        raise UsageError("folder", f"{place} holds Sightline's own files; name a folder of pictures")


def require_model_here(wiring: Wiring, gallery: Gallery | None, wanted: str | None) -> None:
    """Raise WeightsElsewhere where indexing would need a model that has to be downloaded first."""
    model = wanted or wiring.settings.model or (gallery.model if gallery else None)
    if model is not None:
        wiring.require_here(model, "encoder", command=f"sightline index FOLDER --model {model}", field="model")


def _existing(folder: Path | str) -> Path:
    place = expanded(folder)
    if not os.path.isdir(place):
        raise SourceMissing(place)
    return place.resolve()


def _known_gallery(wiring: Wiring, folder: Path, name: str | None) -> Gallery | None:
    """Find the gallery of a folder, if there is one: by the given name, else by the folder itself."""
    with wiring.database.reading() as session:
        return _find_gallery(session, folder, name)


def _find_gallery(session: Session, folder: Path, name: str | None) -> Gallery | None:
    if name is None:
        return galleries.by_source(session, to_uri(folder))
    if not galleries.exists(session, name):
        galleries.check_name(name)
        return None
    known = galleries.by_name(session, name)
    check_apart(folder, known)
    return known


def check_apart(folder: Path, gallery: Gallery) -> None:
    """A file may lie below one folder of a gallery only: otherwise it would come and go twice."""
    place = to_uri(folder)
    for source in gallery.sources:
        if source != place and (f"{place}/".startswith(f"{source}/") or f"{source}/".startswith(f"{place}/")):
            raise UsageError("folder", f"{place} and {source}, of which {gallery.name} is made, lie inside each other")


def _free_name(session: Session, folder: Path) -> str:
    """Name a gallery after its folder; where that name is taken, add as much of the path's digest as it needs."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40] or "pictures"
    digest = hashlib.sha256(to_uri(folder).encode()).hexdigest()
    names = [name, *(f"{name}-{digest[:length]}" for length in range(6, 24))]
    return next(one for one in names if not galleries.exists(session, one))


def _choose_model(
    wiring: Wiring, gallery: Gallery | None, folder: Path, wanted: str | None, downloads: Downloads
) -> Checkpoint | None:
    """Choose the model that indexes a folder: the gallery's, the wanted one, or the best there is."""
    if downloads == "never":
        require_model_here(wiring, gallery, wanted)
    fixed = gallery.model if gallery else None
    if wanted is None and fixed is not None:
        return wiring.checkpoint(fixed)
    if wanted is None:
        may_ask = downloads == "always" or (downloads == "for a new gallery" and gallery is None)
        return wiring.choose_model(folder, ask_network=may_ask)
    checkpoint = wiring.checkpoint(wanted)
    if checkpoint.name == RENDERED_MODEL and fixed is None and not wiring.is_rendered(folder):
        wiring.say(ONLY_POSTCARDS.format(RENDERED_MODEL))
    return checkpoint


def _fix_model(session: Session, gallery: Gallery, checkpoint: Checkpoint, encoder: Encoder) -> Gallery:
    return galleries.fix_model(
        session,
        gallery,
        model=checkpoint.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        vectors=encoder.vectors,
    )


def _run_as_job(
    wiring: Wiring,
    gallery: Gallery,
    builder: Builder,
    folder: Path,
    described: Sequence[CaptionRecord],
    progress: Progress,
) -> Report:
    """Run the builder as the gallery's only writer, for everybody to see."""
    with write_lease(wiring.database, gallery) as holder, watched(wiring, gallery, "index", progress) as watch:
        watch.report = lambda: vars(builder.report) | {"failed": len(builder.report.failed)}
        builder.progress = watch
        return builder.run(folder, described, holder=holder)
