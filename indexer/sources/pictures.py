"""Where the pictures of a dataset lie: their names are looked for below the folders where such sets are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

from indexer import archives
from indexer.errors import BadDataset, DecodeFailed
from indexer.sources.dataset import Example
from indexer.sources.entries import Entry
from indexer.sources.fields import quoted

# Folders as the authors' archives unpack; those of one line hold one set together, no name twice.
_SETS: tuple[tuple[str, ...], ...] = (
    ("",),
    ("images",),
    ("Images",),
    ("train2017", "val2017", "test2017"),
    ("train2014", "val2014", "test2014", "test2015"),
    ("Flicker8k_Dataset",),  # sic
    ("Flickr8k_Dataset",),
    ("flickr30k-images",),
    ("flickr30k_images",),
    ("VG_100K", "VG_100K_2"),
    ("images/VG_100K", "images2/VG_100K_2"),
)
_FOLDERS = sorted((f"{folder}/" for folders in _SETS for folder in folders if folder), key=len, reverse=True)
_SAMPLE = 32


@dataclass(frozen=True)
class _Place:
    """Folders that may hold the pictures, and how a name of the dataset is read below them."""

    folders: tuple[str, ...]
    spelling: Callable[[str], str]
    is_file: Callable[[str], bool]

    def find(self, name: str) -> str | None:
        spelt = self.spelling(name)
        for folder in self.folders:
            if self.is_file(path := os.path.join(folder, spelt)):
                return path
        return None

    def expected(self, name: str) -> str:
        return os.path.join(self.folders[0], self.spelling(name))


def placed(path: Path, entries: Sequence[Entry], images: Path | None) -> tuple[Example, ...]:
    """Give examples of entries, with the files that their pictures are, or would be where they are missing.

    Names are relative to `images` if given, a folder or an archive, else to the file's folder or the one above it.
    Below these, the folders in which COCO, Flickr, Visual Genome and others are kept are looked into as well. The place
    in which most of some pictures lie is taken for all, the first of equals: the name below the folder, or its last
    part only, unless two names end alike. Absolute names stay. Raises BadDataset where not one picture is found.
    """
    names = [entry.name for entry in entries]
    place = _place(path, names, images)
    settle = _settling()
    return tuple(
        Example(e.place, e.name, settle(place.find(e.name) or place.expected(e.name)), e.texts, e.split, e.metadata)
        for e in entries
    )


def settled(path: Path) -> Path:
    """Give the absolute path of a file as walking its folder would: links to folders followed, one to a file kept."""
    return _settling()(str(path))


def without_set(name: str) -> str:
    """Take the folder in which such sets are kept off a name: `images/VG_100K/1.jpg` is `1.jpg`."""
    return name.removeprefix(next((folder for folder in _FOLDERS if name.startswith(folder)), ""))


def _settling() -> Callable[[str], Path]:
    resolved = cache(os.path.realpath)

    def settle(path: str) -> Path:
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            return Path(resolved(path))
        return Path(f"{resolved(folder)}/{name}")

    return settle


def _place(path: Path, names: Sequence[str], images: Path | None) -> _Place:
    places = list(_places(path, names, images))
    sample = names[:: max(1, len(names) // _SAMPLE)]
    found = [sum(place.find(name) is not None for name in sample) for place in places]
    if any(found):
        return places[found.index(max(found))]
    for place in places:
        if any(place.find(name) for name in names):
            return place
    raise BadDataset(path, "", _nowhere(path, names, images))


def _places(path: Path, names: Sequence[str], images: Path | None) -> Iterator[_Place]:
    roots = [path.parent, path.parent.parent] if images is None else [images]
    is_file, is_folder = _in_archive(path, images) if images and images.is_file() else (os.path.isfile, os.path.isdir)
    spellings = [_whole, _last_part] if len(set(map(_last_part, names))) == len(names) else [_whole]
    for spelling in spellings:
        for root in map(str, roots):
            for folders in _SETS:
                paths = (f"{root}/{folder}" if folder else root for folder in folders)
                if there := tuple(filter(is_folder, paths)):
                    yield _Place(there, spelling, is_file)


def _in_archive(path: Path, archive: Path) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Tell files and folders of an archive as `os.path` tells those of a disk; the archive itself is a folder."""
    try:
        files = {f"{archive}/{member.name}" for member in archives.members(archive)}
    except DecodeFailed as error:
        raise BadDataset(path, "", f"the archive of its pictures, {archive}, is no good: {error.reason}") from None
    lowest = {os.path.dirname(file) for file in files}
    folders = {str(folder) for low in lowest for folder in (PurePath(low), *PurePath(low).parents)}
    return lambda file: file in files or os.path.isfile(file), lambda folder: folder in folders


def _nowhere(path: Path, names: Sequence[str], images: Path | None) -> str:
    if names[0].startswith(("http://", "https://")):
        hint = "they are addresses: download them, and name their folder with --images"
    elif images is None:
        hint = "name their folder with --images"
    else:
        hint = "--images names the folder that their names are relative to"
    where = f"beside it or in {path.parent.parent}" if images is None else f"below {images}"
    several = f"none of its {len(names)} pictures is" if len(names) > 1 else "its picture is not"
    return f"{several} {where} (the first is {quoted(names[0])}); {hint}"


def _whole(name: str) -> str:
    return name


def _last_part(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]
