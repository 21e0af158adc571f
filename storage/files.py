"""Durable files: written beside their place, synced, moved into it, and the folder synced too."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from storage.errors import DiskFull

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def write_durably(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file in the same folder, then put it in place so that no reader sees half of it."""
    # Two threads may make the same file at once: each writes its own, and the last one stays. The dot hides it from an
    # index run, and the name is short, for the file's own may be as long as names can be.
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_bytes_durably(path: Path, content: bytes) -> None:
    """Put a file of some content in place."""

    def write(place: Path) -> None:
        place.write_bytes(content)

    write_durably(path, write)


@contextmanager
def needing_room() -> Iterator[None]:
    """Say DiskFull where a disk takes no more."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull((error.strerror or "").lower()) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(*paths: Path) -> str:
    """Digest files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
