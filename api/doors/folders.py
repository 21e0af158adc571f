"""Folders and datasets become galleries: which gallery, which model, and the index run itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from api.doors import places
from api.doors.watching import watched
from api.paths import expanded
from api.results import Indexed
from api.wiring import ONLY_POSTCARDS, RENDERED_MODEL, Wiring
from indexer.build import Builder, Progress, Report
from indexer.sources.dataset_source import DatasetSource
from indexer.sources.layouts import Reading
from indexer.sources.opening import AS_IT_IS, Opened, Place, open_source
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.roles import Encoder
from storage import galleries
from storage.db import Session
from storage.errors import GalleryBusy, ModelMismatch
from storage.galleries import Gallery
from storage.lease import write_lease

BATCH_WITHOUT_MODEL = 32

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
    reading: Reading = AS_IT_IS,
) -> Indexed:
    """Make a gallery hold exactly what a folder or a dataset holds.

    All of a dataset and captions are read and the model is loaded first: where that fails, no empty gallery is left
    behind. `downloads` says when a gallery without a model looks for one on the hub. `within` is that of
    `open_source`. `reading` is what is said of a dataset; what was said of it before need not be said again.
    """
    asked = places.existing(wiring, folder, reading)
    with wiring.database.reading() as session:
        known, place = places.find(session, asked, gallery)
    source = open_source(place, within)
    if known is not None:
        with wiring.database.reading() as session:
            places.check_files_apart(session, source, known)
    checkpoint = _choose_model(wiring, known, place, source, model or wiring.settings.model, downloads)
    encoder = None
    if checkpoint is not None:
        wiring.announce_download(checkpoint, "encoder")
        encoder = wiring.encoder(checkpoint)
    with wiring.database.writing() as session:
        chosen = _begin(session, known, place, source, gallery)
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
    )
    report = _run_as_job(wiring, chosen, builder, source, progress)
    _tell_splits(wiring, place, source)
    if known is not None and known.model is None and chosen.model is not None:
        for other in (one for one in known.sources if one != source.uri):
            wiring.say(f"gallery {chosen.name} is also made of {other}: index it again to embed it")
    return Indexed(chosen.name, chosen.model, by_name(wiring, chosen.name).revision, report, source.layout)


def _tell_splits(wiring: Wiring, place: Place, source: Opened) -> None:
    """Say that all splits of a dataset were taken, where nobody said which: a benchmark is one of them."""
    splits = source.splits() if isinstance(source, DatasetSource) and place.reading.split is None else ()
    if len(splits) > 1:
        wiring.say(
            f"all splits are taken, {', '.join(splits)}: index --split NAME, or evaluate --split NAME, takes one"
        )


def target(wiring: Wiring, named: Path | str, *, model: str | None, progress: Progress) -> Gallery:
    """Give the gallery that a folder or a dataset (brought up to date first) or a name means."""
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
    """Tell a folder or a dataset from a gallery's name; where a bare word could be both, the gallery wins.

    A path is never a name. The gallery of that very folder is brought up to date, so there it makes no difference.
    """
    if isinstance(named, Path) or "/" in named or named.startswith((".", "~")):
        return True
    if not places.is_place(named):
        return False
    with wiring.database.reading() as session:
        if not galleries.exists(session, named):
            return True
        if places.is_made_of(galleries.by_name(session, named), Path(named).resolve()):
            return True
    wiring.say(f"taking the gallery {named}; the folder of that name is ./{named}")
    return False


def by_name(wiring: Wiring, name: str) -> Gallery:
    """Find a gallery by name."""
    with wiring.database.reading() as session:
        return galleries.by_name(session, name)


def name_of(wiring: Wiring, named: str) -> str:
    """Give the name of the gallery that a name, a folder or a dataset means, without indexing anything."""
    if places.is_place(str(expanded(named))):
        with wiring.database.reading() as session:
            found = places.gallery_at(session, expanded(named).resolve())
        if found is not None:
            return found.name
    return named


def require_model_here(wiring: Wiring, gallery: Gallery | None, wanted: str | None) -> None:
    """Raise WeightsElsewhere where indexing would need a model that has to be downloaded first."""
    model = wanted or wiring.settings.model or (gallery.model if gallery else None)
    if model is not None:
        wiring.require_here(model, "encoder", command=f"sightline index FOLDER --model {model}", field="model")


def _begin(session: Session, known: Gallery | None, place: Place, source: Opened, name: str | None) -> Gallery:
    """Make the gallery where it is new, and remember the source.

    It is looked up again: another process may have made it while the model was loading.
    """
    now, _ = places.find(session, place, name)
    if now is not None and (known is None or known.sources != now.sources):
        places.check_files_apart(session, source, now)
    chosen = now or galleries.create(session, name or places.free_name(session, place))
    galleries.add_source(session, chosen.id, source.uri)
    return chosen


def _choose_model(
    wiring: Wiring, gallery: Gallery | None, place: Place, source: Opened, wanted: str | None, downloads: Downloads
) -> Checkpoint | None:
    """Choose the model that indexes a source: the gallery's, the wanted one, or the best there is."""
    if downloads == "never":
        require_model_here(wiring, gallery, wanted)
    fixed = gallery.model if gallery else None
    if wanted is None and fixed is not None:
        return wiring.checkpoint(fixed)
    if wanted is None:
        may_ask = downloads == "always" or (downloads == "for a new gallery" and gallery is None)
        return wiring.choose_model(place.path, source, ask_network=may_ask)
    checkpoint = wiring.checkpoint(wanted)
    if checkpoint.name == RENDERED_MODEL and fixed is None and not wiring.is_rendered(source):
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


def _run_as_job(wiring: Wiring, gallery: Gallery, builder: Builder, source: Opened, progress: Progress) -> Report:
    """Run the builder as the gallery's only writer, for everybody to see."""
    with write_lease(wiring.database, gallery) as holder, watched(wiring, gallery, "index", progress) as watch:
        watch.report = lambda: vars(builder.report) | {"failed": len(builder.report.failed)}
        builder.progress = watch
        return builder.run(source, holder=holder)
