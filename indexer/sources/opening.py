"""What a path means, a folder of pictures or a dataset, and how either is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from indexer.errors import BadDataset, SourceMissing
from indexer.sources import layouts, shards
from indexer.sources.dataset import Dataset
from indexer.sources.dataset_source import DatasetSource, of_dataset
from indexer.sources.folder import FolderSource, open_folder
from indexer.sources.layouts import Reading
from indexer.sources.place import AS_IT_IS as AS_IT_IS
from indexer.sources.place import Place as Place
from indexer.sources.place import from_source as from_source
from indexer.sources.place import to_source as to_source
from indexer.uri import from_uri

Opened = FolderSource | DatasetSource
"""A source that was read."""


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


def _read(path: Path, reading: Reading) -> Dataset:
    if not shards.is_shards(path):
        return layouts.read(path, reading)
    columns = reading.text_columns
    return shards.read(path, split=reading.split, image_column=reading.image_column, text_columns=columns)


def _check_within(source: DatasetSource, roots: Sequence[Path]) -> None:
    """Raise BadDataset for a picture that lies elsewhere."""
    resolved = [root.resolve() for root in roots]
    for uri, example in source.examples.items():
        real = Path(os.path.realpath(from_uri(uri)))
        if not any(real.is_relative_to(root) for root in resolved):
            reason = f"its picture {real} lies outside of the folders that may be indexed"
            raise BadDataset(source.path, example.place, reason)
