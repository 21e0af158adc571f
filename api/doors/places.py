"""Places that galleries are made of: what a person names, how it was read before, and what may lie beside it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from api.errors import UsageError
from api.paths import expanded
from api.wiring import Wiring
from indexer.errors import SourceMissing
from indexer.sources.dataset_source import DatasetSource
from indexer.sources.folder import FolderSource
from indexer.sources.layouts import LAYOUTS, Reading
from indexer.sources.opening import AS_IT_IS, Opened, Place, from_source, is_dataset, to_source
from indexer.sources.shards import is_shards
from indexer.uri import from_uri, to_uri
from storage import galleries, items
from storage.db import Session
from storage.galleries import Gallery

OF_PEOPLE = ("demo", "uploads")
"""Folders in the home that hold pictures for people."""

OPTIONS = {
    "layout": "--layout",
    "images": "--images",
    "split": "--split",
    "image_column": "--image-column",
    "text_columns": "--text-column",
}


def existing(wiring: Wiring, named: Path | str, reading: Reading = AS_IT_IS) -> Place:
    """Give the place that a folder or a dataset means, links followed; what cannot be said of it is a UsageError."""
    path = expanded(named)
    if not os.path.exists(path):
        raise SourceMissing(path)
    found = path.resolve()
    _require_outside_home(wiring, found)
    if reading.images is not None:
        images = expanded(reading.images)
        if not os.path.isdir(images):
            raise UsageError("images", f"--images is {images}, but there is no such folder")
        reading = Reading(reading.layout, images.resolve(), reading.split, reading.image_column, reading.text_columns)
    _check_reading(found, reading)
    return Place(found, reading)


def is_place(named: str) -> bool:
    """Say whether a bare word is a folder or a dataset that is there."""
    return os.path.isdir(named) or (os.path.exists(named) and is_dataset(Path(named)))


def is_made_of(gallery: Gallery, path: Path) -> bool:
    """Say whether a folder or a dataset is a source of a gallery, however it is read."""
    return any(from_source(source).path == path for source in gallery.sources)


def find(session: Session, asked: Place, name: str | None) -> tuple[Gallery | None, Place]:
    """Find the gallery of a place, if there is one, and how the place is read there.

    By the given name, else by the place itself. Of a dataset nothing need be said again that was said before.
    """
    if name is not None:
        return _named(session, asked, name)
    exact = galleries.by_source(session, to_source(asked))
    if exact is not None:
        return exact, asked
    alike = _alike(session, asked) if not os.path.isdir(asked.path) or is_shards(asked.path) else []
    if len(alike) > 1:
        raise UsageError("gallery", f"{asked.path} is read in several ways: {_listed(alike)}; name the gallery")
    return alike[0] if alike else (None, asked)


def gallery_at(session: Session, path: Path) -> Gallery | None:
    """Find the gallery of a place; UsageError where there are several."""
    return find(session, Place(path), None)[0]


def check_apart(folder: Path, gallery: Gallery) -> None:
    """A file may lie below one folder of a gallery only: otherwise it would come and go twice."""
    place = to_uri(folder)
    for source in _folders(gallery):
        if source != place and (f"{place}/".startswith(f"{source}/") or f"{source}/".startswith(f"{place}/")):
            raise UsageError("folder", f"{place} and {source}, of which {gallery.name} is made, lie inside each other")


def check_files_apart(session: Session, source: Opened, gallery: Gallery) -> None:
    """Raise UsageError where a file of a source belongs to another source of the gallery."""
    if isinstance(source, FolderSource):
        check_apart(from_uri(source.uri), gallery)
        shared = _shared_by_folder(session, source, gallery)
    else:
        shared = _shared_by_dataset(session, source, gallery)
    for uri, other in shared:
        raise UsageError(
            "gallery",
            f"{uri} is a picture of {_said(from_source(other))} already, of which {gallery.name} is made: a file "
            f"belongs to one source of a gallery; index {_said(from_source(source.uri))} into another gallery",
        )


def free_name(session: Session, place: Place) -> str:
    """Name a gallery after its place; where that name is taken, add as much of the digest as it needs."""
    stem = place.path.name if os.path.isdir(place.path) else place.path.name.partition(".")[0]
    said = stem if place.reading.split is None else f"{stem}-{place.reading.split}"
    name = re.sub(r"[^a-z0-9]+", "-", said.lower()).strip("-")[:40] or "pictures"
    digest = hashlib.sha256(to_source(place).encode()).hexdigest()
    names = [name, *(f"{name}-{digest[:length]}" for length in range(6, 24))]
    return next(one for one in names if not galleries.exists(session, one))


def _check_reading(path: Path, reading: Reading) -> None:
    """Raise UsageError for what makes no sense of this place."""
    said = [name for name in OPTIONS if getattr(reading, name)]
    if is_shards(path):
        for name in ("layout", "images"):
            if name in said:
                raise UsageError(name, f"{OPTIONS[name]} is for annotation files; {path} holds its pictures itself")
    elif os.path.isdir(path):
        for name in said:
            raise UsageError(name, f"{OPTIONS[name]} is for datasets; {path} is a folder of pictures")
    elif not is_dataset(path):
        raise UsageError("folder", f"{path} is no dataset: name a folder of pictures, an annotation file or an archive")
    elif reading.layout is not None and reading.layout not in LAYOUTS:
        raise UsageError("layout", f"--layout is {reading.layout}; it is one of {', '.join(LAYOUTS)}")


def _require_outside_home(wiring: Wiring, path: Path) -> None:
    """Raise UsageError for a place of Sightline's own: its thumbnails would be pictures of a gallery."""
    home = wiring.settings.home.resolve()
    if path == home or (path.is_relative_to(home) and path.relative_to(home).parts[0] not in OF_PEOPLE):
        raise UsageError("folder", f"{path} holds Sightline's own files; name a folder of pictures")


def _named(session: Session, asked: Place, name: str) -> tuple[Gallery | None, Place]:
    if not galleries.exists(session, name):
        galleries.check_name(name)
        return None, asked
    known = galleries.by_name(session, name)
    there = [from_source(source) for source in known.sources]
    alike = [place for place in there if place.path == asked.path and _fits(asked.reading, place.reading)]
    if asked in alike:
        return known, asked
    if len(alike) > 1:
        raise UsageError("split", f"{asked.path} is read in several ways in {name}: say which --split")
    if alike:
        return known, alike[0]
    for place in there:
        # Two splits have no picture in common: these alone may come from one file.
        apart = None not in (place.reading.split, asked.reading.split) and place.reading.split != asked.reading.split
        if place.path == asked.path and not apart:
            reason = f"{name} is made of {_said(place)} already; index it as that, or into another gallery"
            raise UsageError("gallery", reason)
    return known, asked


def _alike(session: Session, asked: Place) -> list[tuple[Gallery, Place]]:
    """List the galleries that are made of a dataset, read so that all holds that is said of it now."""
    found = []
    for summary in galleries.summaries(session):
        for place in map(from_source, summary.sources):
            if place.path == asked.path and _fits(asked.reading, place.reading):
                found.append((galleries.by_name(session, summary.name), place))
    return found


def _fits(asked: Reading, known: Reading) -> bool:
    return all(not getattr(asked, name) or getattr(asked, name) == getattr(known, name) for name in OPTIONS)


def _listed(alike: list[tuple[Gallery, Place]]) -> str:
    return ", ".join(f"{gallery.name} ({_said(place)})" for gallery, place in alike)


def _said(place: Place) -> str:
    """Say how a place is read, as it is said to a command."""
    said = {option: getattr(place.reading, name) for name, option in OPTIONS.items()}
    several = [(option, value if isinstance(value, tuple) else (value,)) for option, value in said.items() if value]
    return " ".join([str(place.path), *(f"{option} {one}" for option, values in several for one in values)])


def _folders(gallery: Gallery) -> Iterator[str]:
    """Give those sources of a gallery that are folders of pictures; one that is gone was a folder."""
    for source in gallery.sources:
        place = from_source(source)
        if place.reading == AS_IT_IS and not is_dataset(place.path):
            yield source


def _shared_by_folder(session: Session, source: FolderSource, gallery: Gallery) -> Iterator[tuple[str, str]]:
    """Find pictures of the gallery's other sources, with these, that lie below a folder."""
    for other in set(gallery.sources) - {source.uri}:
        theirs = items.living(session, gallery.id, "image", other)
        yield from ((uri, other) for uri in _below(source.uri, (item.uri for item in theirs)))


def _shared_by_dataset(session: Session, source: DatasetSource, gallery: Gallery) -> Iterator[tuple[str, str]]:
    """Find pictures of a dataset that belong to the gallery's other sources, with these."""
    folders = set(_folders(gallery))
    for other in set(gallery.sources) - {source.uri}:
        if other in folders:
            yield from ((uri, other) for uri in _below(other, source.examples))
        theirs = items.living(session, gallery.id, "image", other)
        yield from ((item.uri, other) for item in theirs if item.uri in source.examples)


def _below(folder: str, uris: Iterable[str]) -> Iterator[str]:
    """Give the files that an index run of a folder would come by: those below it, but for members of archives."""
    on_disk: dict[str, bool] = {}
    for uri in uris:
        if uri.startswith(f"{folder}/"):
            parent = uri.rpartition("/")[0]
            if parent not in on_disk:
                on_disk[parent] = os.path.isdir(from_uri(parent))
            if on_disk[parent]:
                yield uri
