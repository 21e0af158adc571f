"""The picture an item was made from, if it is still the same file."""

from __future__ import annotations

import os

from PIL.Image import Image

from indexer.decode import PIXEL_LIMIT, decode
from indexer.errors import OriginalChanged, OriginalMissing
from indexer.uri import from_uri

LATEST = (1 << 63) - 1
"""Databases hold 64-bit integers: nanoseconds up to the year 2262."""


def open_original(
    uri: str, *, size: int, mtime_ns: int, pixel_limit: int = PIXEL_LIMIT, least_side: int | None = None
) -> Image:
    """Decode the file behind an item as `decode` does; raises where it is missing, was changed, or cannot be decoded.

    Size and date are looked at again after decoding, so that a file written to meanwhile is not mistaken for the old.
    """
    check_unchanged(uri, size=size, mtime_ns=mtime_ns)
    image = decode(from_uri(uri), pixel_limit=pixel_limit, least_side=least_side)
    check_unchanged(uri, size=size, mtime_ns=mtime_ns)
    return image


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Give the size and the date (nanoseconds) by which a file is recognised; a date beyond 2262 is that of 2262."""
    return status.st_size, max(-LATEST, min(status.st_mtime_ns, LATEST))


def check_unchanged(uri: str, *, size: int, mtime_ns: int) -> None:
    """Raise OriginalMissing or OriginalChanged unless the file is there with this size and date."""
    try:
        found = from_uri(uri).stat()
    except (OSError, ValueError):  # ValueError: a name with a zero byte, which no file has
        raise OriginalMissing(uri) from None
    if stamp(found) != (size, mtime_ns):
        raise OriginalChanged(uri)
