"""The picture an item was made from, if it is still the same file."""

from __future__ import annotations

from PIL.Image import Image

from indexer.decode import PIXEL_LIMIT, decode
from indexer.errors import OriginalChanged, OriginalMissing
from indexer.uri import from_uri


def open_original(uri: str, *, size: int, mtime_ns: int, pixel_limit: int = PIXEL_LIMIT) -> Image:
    """Decode the file behind an item; raises where it is missing, was changed, or cannot be decoded.

    Size and date are looked at again after decoding, so that a file written to meanwhile is not mistaken for the old.
    """
    check_unchanged(uri, size=size, mtime_ns=mtime_ns)
    image = decode(from_uri(uri), pixel_limit=pixel_limit)
    check_unchanged(uri, size=size, mtime_ns=mtime_ns)
    return image


def check_unchanged(uri: str, *, size: int, mtime_ns: int) -> None:
    """Raise OriginalMissing or OriginalChanged unless the file is there with this size and date."""
    try:
        found = from_uri(uri).stat()
    except (OSError, ValueError):  # ValueError: a name with a zero byte, which no file has
        raise OriginalMissing(uri) from None
    if (found.st_size, found.st_mtime_ns) != (size, mtime_ns):
        raise OriginalChanged(uri)
