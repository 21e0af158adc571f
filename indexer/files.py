"""A regular file: opened without waiting, recognised by its size and date, and what was wrong with it in words."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

LATEST = (1 << 63) - 1
"""Databases hold 64-bit integers: nanoseconds up to the year 2262."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file; anything else is an OSError at once, also a pipe that nobody writes to."""
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Give the size and the date (nanoseconds) by which a file is recognised; a date beyond 2262 is that of 2262."""
    return status.st_size, max(-LATEST, min(status.st_mtime_ns, LATEST))


def unreadable(error: OSError | ValueError) -> str:
    """Word what the operating system said about a file, as a reason."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"unreadable: {reason.lower()}"


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
