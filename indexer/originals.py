"""The picture an item was made from, if it is still the same: a file, or a member of an archive."""

from __future__ import annotations

import os
from io import BufferedReader, BytesIO

from PIL.Image import Image

from indexer import archives
from indexer.decode import PIXEL_LIMIT, decode_file, open_file
from indexer.errors import DecodeFailed, OriginalChanged, OriginalMissing
from indexer.files import LATEST as LATEST
from indexer.files import stamp as stamp
from indexer.uri import from_uri, to_bytes


def open_original(
    uri: str, *, size: int, mtime_ns: int, pixel_limit: int = PIXEL_LIMIT, least_side: int | None = None
) -> Image:
    """Decode the file behind an item as `decode` does; raises where it is missing, was changed, or cannot be decoded.

    Size and date are looked at again after decoding, so that a file written to meanwhile is not mistaken for the old.
    """
    check_unchanged(uri, size=size, mtime_ns=mtime_ns)
    with open_file(from_uri(uri)) as file:
        _check_size(file, uri, size)
        image = decode_file(file, pixel_limit=pixel_limit, least_side=least_side)
    check_unchanged(uri, size=size, mtime_ns=mtime_ns)
    return image


def open_bytes(uri: str, *, size: int, mtime_ns: int) -> BufferedReader | BytesIO:
    """Open the file behind an item as it is; raises OriginalMissing or OriginalChanged."""
    try:
        file = open_file(from_uri(uri))
    except DecodeFailed as error:
        raise OriginalMissing(uri) from error
    try:
        check_unchanged(uri, size=size, mtime_ns=mtime_ns)
        _check_size(file, uri, size)
    except BaseException:
        file.close()
        raise
    return file


def check_unchanged(uri: str, *, size: int, mtime_ns: int) -> None:
    """Raise OriginalMissing or OriginalChanged unless the file is there with this size and date.

    Of a member only the archive's date is looked at: that an archive nobody wrote to holds what it held needs no look
    inside, which would cost a search through thousands of archives a minute. The size is checked when it is opened.
    """
    try:
        found = stamp(os.stat(to_bytes(uri)))
    except NotADirectoryError:
        found = (size, _archive_date(uri))
    except (OSError, ValueError):  # ValueError: a name with a zero byte, which no file has
        raise OriginalMissing(uri) from None
    if found != (size, mtime_ns):
        raise OriginalChanged(uri)


def _archive_date(uri: str) -> int:
    try:
        return archives.date(from_uri(uri))
    except OSError:
        raise OriginalMissing(uri) from None


def _check_size(file: BufferedReader | BytesIO, uri: str, size: int) -> None:
    if file.seek(0, os.SEEK_END) != size:
        raise OriginalChanged(uri)
    file.seek(0)
