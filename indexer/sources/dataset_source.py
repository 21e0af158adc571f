"""A dataset as what a gallery is made of: its pictures where they lie, each annotation as a text of its own."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from indexer import archives
from indexer.decode import unreadable
from indexer.errors import BadDataset
from indexer.originals import stamp
from indexer.sources.dataset import Dataset, Example
from indexer.sources.description import Description
from indexer.sources.folder import FailedRecord, FileRecord, Record
from indexer.sources.naming import NAME, picture_name
from indexer.uri import from_uri, to_uri

LONGEST_SPLIT = 64
"""What the column of splits holds."""


@dataclass(frozen=True)
class DatasetSource:
    """A dataset's examples by the uri of their picture, in its order.

    Texts of equal wording stay apart, and those of a picture that cannot be shown are left out.
    """

    uri: str
    path: Path
    layout: str
    examples: Mapping[str, Example]
    texts_need_pictures = True

    def records(self) -> Iterator[Record]:
        """Look at each picture, in the dataset's order."""
        for uri, example in self.examples.items():
            yield self._record(uri, example)

    def descriptions(self) -> Iterator[Description]:
        """Say what the dataset says, picture by picture."""
        for uri, example in self.examples.items():
            texts = {text_uri(self.uri, text.key): text.text for text in example.texts}
            yield Description(uri, texts, example.split, self._metadata(uri, example))

    def splits(self) -> tuple[str, ...]:
        """Name the splits that its pictures belong to, in order."""
        return tuple(sorted({example.split for example in self.examples.values() if example.split is not None}))

    def name_of(self, uri: str) -> str:
        """Give the picture's name as the dataset has it, without its suffix."""
        return str(PurePosixPath(self.examples[uri].name).with_suffix(""))

    def _metadata(self, uri: str, example: Example) -> dict[str, Any]:
        """Give what else is known of a picture; its name in the dataset too, where its place does not tell it."""
        known = {name: _plain(value) for name, value in example.metadata.items()}
        if picture_name(uri, self.uri) != example.name:
            known.setdefault(NAME, example.name)
        return known

    def _record(self, uri: str, example: Example) -> Record:
        path = from_uri(uri)
        try:
            found = os.stat(path)
        except NotADirectoryError:
            return self._member(uri, path, example)
        except FileNotFoundError:
            return self._missing(uri, example)
        except (OSError, ValueError) as error:
            return FailedRecord(uri, unreadable(error))
        if not stat.S_ISREG(found.st_mode):
            return FailedRecord(uri, f"no file of its own; {self.path.name}, {example.place} names it")
        return FileRecord(path, uri, *stamp(found))

    def _member(self, uri: str, path: Path, example: Example) -> Record:
        """Look at a picture inside an archive."""
        try:
            return FileRecord(path, uri, *archives.stamp(path))
        except (FileNotFoundError, NotADirectoryError):
            return self._missing(uri, example)
        except OSError as error:
            return FailedRecord(uri, unreadable(error))

    def _missing(self, uri: str, example: Example) -> FailedRecord:
        return FailedRecord(uri, f"missing: {self.path.name}, {example.place} names it")


def of_dataset(dataset: Dataset, uri: str) -> DatasetSource:
    """Make a source of a dataset; raises `BadDataset` where two examples or two texts are the same item."""
    examples: dict[str, Example] = {}
    keys: dict[str, Example] = {}
    for place, example in zip(_places(dataset), dataset.examples, strict=True):
        if (other := examples.setdefault(place, example)) is not example:
            raise BadDataset(dataset.path, example.place, f"its picture {example.name} is that of {other.place}")
        if example.split is not None and len(example.split) > LONGEST_SPLIT:
            reason = f"its split has {len(example.split)} letters; at most {LONGEST_SPLIT} can be kept"
            raise BadDataset(dataset.path, example.place, reason)
        for text in example.texts:
            if text.key in keys:
                raise BadDataset(dataset.path, example.place, f"its text {text.key} is in {keys[text.key].place} too")
            keys[text.key] = example
    return DatasetSource(uri, dataset.path, dataset.layout, examples)


def text_uri(source: str, key: str) -> str:
    """Name a text of a source: what could break a line is escaped as in file names."""
    return f"{source}#{to_uri('/' + key)[1:]}"


def _places(dataset: Dataset) -> Iterator[str]:
    """Give the uri of each example's picture; links among its folders are followed, so that a file has one name."""
    real: dict[str, str] = {}
    for example in dataset.examples:
        folder, name = os.path.split(example.picture)
        if folder not in real:
            real[folder] = _real(folder)
        yield to_uri(os.path.join(real[folder], name))


def _real(folder: str) -> str:
    """Follow the links of a folder's name, but not within an archive: there a name is only a name."""
    member = archives.split(Path(folder))
    return os.path.realpath(folder) if member is None else os.path.join(os.path.realpath(member[0]), member[1])


def _plain(value: Any) -> Any:
    """Make a value one that every JSON reader and every database takes."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case other:
            return str(other)
