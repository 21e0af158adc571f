"""The pictures that files of questions and of hard negatives speak of, found in a gallery or in a folder."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from PIL.Image import Image

from api.doors.pictures import read
from api.wiring import Wiring
from indexer.errors import DecodeFailed, PictureMissing
from indexer.sources.naming import item_name
from indexer.uri import shown, to_uri
from retrieval.errors import PictureGone
from retrieval.evaluation.tasks import Missing
from storage import items
from storage.galleries import Gallery
from storage.items import Item

T = TypeVar("T")
Key = TypeVar("Key")

_LAST_NUMBER = re.compile(r"(\d+)$")


class NoSuchPicture(Exception):
    """A gallery has no such picture, or more than one; the message says so and is part of a line."""


class GalleryPictures:
    """A gallery's pictures by name, by id, and by the image id that a dataset gave them.

    What failed when it was indexed is known too, as a picture that cannot be shown.
    """

    def __init__(self, wiring: Wiring, gallery: Gallery) -> None:
        """Read what the gallery has."""
        self._wiring, self._gallery = wiring, gallery
        with wiring.database.reading() as session:
            self._items = [*items.embedded(session, gallery.id, "image"), *items.failed(session, gallery.id)]
            known = {item_id: body for item_id, (_, body) in items.metadata(session, gallery.id).items()}
        self._by_id = {item.id: item for item in self._items}
        self._names: dict[int, str] = {}
        self._paths: dict[int, frozenset[str]] = {}
        self._by_last_part: dict[str, list[Item]] = defaultdict(list)
        self._by_image_id: dict[int, list[Item]] = defaultdict(list)
        self._by_number: dict[int, list[Item]] = defaultdict(list)
        for item in self._items:
            told = known.get(item.id, {})
            own = [str(told[key]) for key in ("name", "file_name") if key in told]
            name = PurePosixPath(shown(item.uri))
            self._names[item.id] = item_name(item, told)
            self._paths[item.id] = frozenset((str(name), *own))
            for last in {_last_part(path) for path in self._paths[item.id]}:
                self._by_last_part[last].append(item)
            if (image_id := _number(told.get("image_id"))) is not None:
                self._by_image_id[image_id].append(item)
            if (ending := _LAST_NUMBER.search(name.stem)) is not None:
                self._by_number[int(ending[1])].append(item)

    def of_item(self, item_id: int) -> Item:
        """Find a picture by its item id, or raise NoSuchPicture."""
        if item_id not in self._by_id:
            raise NoSuchPicture(f"{self._has_no} picture with the item id {item_id}")
        return self._by_id[item_id]

    def of_file(self, name: str) -> Item:
        """Find a picture by the name that its source gives it, or by the end of its path; raises NoSuchPicture.

        The end is any number of last parts, as `1.png` or `a/1.png`, as long as no other picture's path ends so.
        """
        path = os.path.normpath(name)
        alike = self._by_last_part.get(_last_part(path), [])
        named = [item for item in alike if self._names[item.id] in (name, path)]
        found = named or [item for item in alike if any(_ends_in(one, path) for one in self._paths[item.id])]
        return self._only(found, repr(name), several="; give more of its path")

    def of_image_id(self, image_id: int) -> Item:
        """Find a picture by its dataset's image id, else by the number that its file name ends in, as COCO's do."""
        found = self._by_image_id.get(image_id) or self._by_number.get(image_id, [])
        none = ", nor one whose file name ends in that number"
        return self._only(found, f"with the image id {image_id}", none=none)

    def open(self, item: Item) -> Image:
        """Decode a picture; raises PictureGone where it is missing, changed or broken."""
        if item.state not in items.FINDABLE:
            raise PictureGone(item.uri, item.reason or "it could not be read when it was indexed")
        return self._wiring.originals.open(item)

    @property
    def _has_no(self) -> str:
        return f"gallery {self._gallery.name!r} has no"

    def _only(self, found: Sequence[Item], what: str, *, none: str = "", several: str = "") -> Item:
        """Give the only picture that was found; `none` and `several` end the sentence about none and several."""
        if not found:
            raise NoSuchPicture(f"{self._has_no} picture {what}{none}")
        if len(found) > 1:
            first = " and ".join(item.uri for item in found[:2])
            raise NoSuchPicture(f"gallery {self._gallery.name!r} has {len(found)} pictures {what}: {first}{several}")
        return found[0]


class FolderPictures:
    """Pictures of a folder by their path in it."""

    def __init__(self, wiring: Wiring, folder: Path) -> None:
        """Look into this folder."""
        self._wiring, self._folder = wiring, folder

    def open(self, name: str) -> Image:
        """Decode a picture; raises PictureGone where it is missing or broken."""
        path = self._folder / name
        try:
            return read(self._wiring, path)
        except PictureMissing:
            raise PictureGone(to_uri(path), "missing") from None
        except DecodeFailed as error:
            raise PictureGone(to_uri(path), error.reason.removeprefix(f"{path}: ")) from error


def made(pictures: Iterable[Key], make: Callable[[Key], T], missing: dict[Key, Missing]) -> dict[Key, T]:
    """Make something of each picture; those that cannot be shown are left out and noted."""
    found: dict[Key, T] = {}
    for picture in pictures:
        if picture in missing:
            continue
        try:
            found[picture] = make(picture)
        except PictureGone as error:
            missing[picture] = Missing(error.uri, error.reason)
    return found


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _ends_in(path: str, end: str) -> bool:
    """Whether the last parts of a path are these; an absolute one is a path as a whole."""
    return path == end or path.endswith(f"/{end}")


def _number(value: object) -> int | None:
    """Read an image id: some datasets write numbers as texts."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else None
