"""What people and files call an item: the same wherever the folder or dataset lies, so no place on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from indexer.sources.pictures import without_set
from indexer.sources.place import from_source
from indexer.uri import shown, to_uri
from storage.items import Item

NAME = "name"
"""The key, in what is known of a picture, of the name that its dataset gives it, where its place does not tell that."""

_PLACE_OF_A_MACHINE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def item_name(item: Item, known: Mapping[str, Any] | None = None) -> str:
    """Name an item: a picture as `picture_name` does, a text by its place in its source."""
    if item.kind == "image":
        return picture_name(item.uri, item.source, known)
    return shown(item.uri, item.source).lstrip("#")


def picture_name(uri: str, source: str, known: Mapping[str, Any] | None = None) -> str:
    """Name a picture: of a dataset as that does, else by its path below the source, else by its file alone.

    `known` is what is known of the picture beside its texts; without it, a dataset's own name is guessed of its place.
    A dataset's absolute names, and columns of its own that are called `name` too, are none.
    """
    last = shown(uri).rpartition("/")[2]
    own = (known or {}).get(NAME)
    if isinstance(own, str) and re.split(r"[/\\]", own)[-1] == last and not _PLACE_OF_A_MACHINE.match(own):
        return own
    return name_below(uri, source) or last


def name_below(uri: str, source: str) -> str | None:
    """Give a picture's path below its source; None where it lies elsewhere.

    That is below the folder or archive, else below the folder of a dataset's pictures, the dataset's own folder or the
    one above, without the folder in which such sets are kept: `train2017` or `images`.
    """
    first, *others = _roots(source)
    if uri.startswith(first):
        return shown(uri, first)
    below = next((shown(uri, root) for root in others if uri.startswith(root)), None)
    return None if below is None else without_set(below)


@lru_cache(maxsize=64)
def _roots(source: str) -> tuple[str, ...]:
    """Give the beginnings of uris below which the pictures of a source are named: the source itself, then others."""
    if not source.startswith("/"):
        return (f"{source}/",)
    place = from_source(source)
    folders = [one for one in (place.reading.images, *place.path.parents[:2]) if one is not None]
    # Below the root of the file system, a name would be a place on this machine.
    return tuple(f"{to_uri(one).rstrip('/')}/" for one in (place.path, *(one for one in folders if one != one.parent)))
