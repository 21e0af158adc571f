"""What a path means, a folder of pictures or a dataset, and how a source is written down and opened again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from indexer.errors import BadDataset, SourceMissing
from indexer.sources import layouts, shards
from indexer.sources.dataset import Dataset
from indexer.sources.dataset_source import DatasetSource, of_dataset
from indexer.sources.folder import FolderSource, open_folder
from indexer.sources.layouts import Reading
from indexer.uri import from_uri, to_uri

Opened = FolderSource | DatasetSource
"""A source that was read."""

AS_IT_IS = Reading()
"""A source of which nothing was said."""

_ESCAPED = {"?": "%3F", "#": "%23", "&": "%26", "=": "%3D"}


@dataclass(frozen=True)
class Place:
    """Where a source lies, an absolute path without links, and what was said of how it is read."""

    path: Path
    reading: Reading = AS_IT_IS


def is_dataset(path: Path) -> bool:
    """Say whether a path is a dataset: a file that could be one, an archive, or a folder of archives."""
    return shards.is_shards(path) or (os.path.isfile(path) and layouts.is_dataset(path))


def open_source(place: Place, within: Sequence[Path] | None = None) -> Opened:
    """Read what a source says; raises `SourceMissing`, `BadCaptions` and `BadDataset`.

    `within` names folders out of which no link of a folder may lead, and no picture of a dataset may lie, unless it
    lies below the dataset's own folder or the one that was named with it.
    """
    path, reading = place.path, place.reading
    if not os.path.exists(path):
        raise SourceMissing(path)
    if os.path.isdir(path) and not shards.is_shards(path):
        return open_folder(path, within)
    source = of_dataset(_read(path, reading), to_source(place))
    if within is not None:
        own = path if os.path.isdir(path) else path.parent
        _check_within(source, [*within, own, *([reading.images] if reading.images else [])])
    return source


def to_source(place: Place) -> str:
    """Write a place down as a source: the path's uri, and behind a question mark what was said of its reading."""
    reading = place.reading
    said = {"layout": reading.layout, "split": reading.split, "image_column": reading.image_column}
    parts = [(name, _escaped(value)) for name, value in said.items() if value is not None]
    parts += [("text_column", _escaped(value)) for value in reading.text_columns]
    if reading.images is not None:
        parts.append(("images", _marked(to_uri(reading.images))))
    path = to_uri(place.path)
    if not parts and from_source(path) == place:
        return path
    return _marked(path) + "".join(f"{'&' if i else '?'}{name}={value}" for i, (name, value) in enumerate(parts))


def from_source(source: str) -> Place:
    """Give the place that `to_source` wrote."""
    path, mark, query = source.partition("?")
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    known = ("layout", "split", "image_column", "text_column", "images")
    if not mark or any(name not in known for name, _ in pairs):
        return Place(from_uri(source))  # a question mark in the name of a folder
    said = {name: unquote(value) for name, value in pairs}
    images = next((value for name, value in pairs if name == "images"), None)
    reading = Reading(
        layout=said.get("layout"),
        images=None if images is None else Path(os.fsdecode(unquote_to_bytes(images))),
        split=said.get("split"),
        image_column=said.get("image_column"),
        text_columns=tuple(unquote(value) for name, value in pairs if name == "text_column"),
    )
    return Place(from_uri(path), reading)


def _read(path: Path, reading: Reading) -> Dataset:
    if not shards.is_shards(path):
        return layouts.read(path, reading)
    columns = reading.text_columns
    return shards.read(path, split=reading.split, image_column=reading.image_column, text_columns=columns)


def _escaped(value: str) -> str:
    return _marked(to_uri("/" + value)[1:])


def _marked(text: str) -> str:
    """Escape the marks that divide a source."""
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


def _check_within(source: DatasetSource, roots: Sequence[Path]) -> None:
    """Raise BadDataset for a picture that lies elsewhere."""
    resolved = [root.resolve() for root in roots]
    for uri, example in source.examples.items():
        real = Path(os.path.realpath(from_uri(uri)))
        if not any(real.is_relative_to(root) for root in resolved):
            reason = f"its picture {real} lies outside of the folders that may be indexed"
            raise BadDataset(source.path, example.place, reason)
