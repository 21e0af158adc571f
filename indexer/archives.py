"""Archives of pictures, read in place: a member is a path below its archive's, as `/data/00000.tar/000001.jpg`.

Nothing is unpacked beside them. Where each member lies is remembered for the archives that were read last, by their
size and date, so that a member costs one look at its own bytes, and an archive that was written anew is read anew.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from threading import Lock

from cachetools import LRUCache

from indexer import files
from indexer.archived.members import Index, Member
from indexer.archived.tars import TarIndex
from indexer.archived.zips import ZipIndex
from indexer.errors import DecodeFailed

__all__ = ["SUFFIXES", "Member", "chunks", "date", "forget", "is_archive", "members", "read", "split", "stamp"]

SUFFIXES = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz"),
    *(".zip", ".parquet"),
)

REMEMBERED = 1_000_000
"""Members of all archives that are remembered together: some 200 bytes each."""


def is_archive(path: Path) -> bool:
    """Say whether a file is an archive by its name."""
    return path.name.lower().endswith(SUFFIXES)


def split(path: Path) -> tuple[Path, str] | None:
    """Part a member's place into its archive and its name; None where no parent of the path is an archive."""
    for parent in path.parents:
        try:
            status = os.stat(parent)
        except (OSError, ValueError):
            continue
        if modes.S_ISREG(status.st_mode) and is_archive(parent):
            return parent, path.relative_to(parent).as_posix()
        return None
    return None


def members(archive: Path) -> list[Member]:
    """List what an archive holds, in its order; raises DecodeFailed where that cannot be read."""
    try:
        with files.open_regular(archive) as file:
            return _index(archive, file).members()
    except (OSError, ValueError) as error:
        raise DecodeFailed(files.unreadable(error)) from error


def read(path: Path) -> bytes:
    """Read a member; whatever is wrong with it or its archive is DecodeFailed."""
    with _opened(path) as (index, file, name):
        return index.read(file, name)


def chunks(path: Path) -> Iterator[bytes]:
    """Read a member part by part, for those who need not hold it; raises DecodeFailed, at its end at the latest."""
    with _opened(path) as (index, file, name):
        yield from index.chunks(file, name)


def stamp(path: Path) -> tuple[int, int]:
    """Give a member's size and its archive's date (nanoseconds).

    FileNotFoundError where there is no such member, another OSError where the archive cannot be read.
    """
    archive, name = _place(path)
    with files.open_regular(archive) as file:
        try:
            return _index(archive, file).size(name), files.stamp(os.fstat(file.fileno()))[1]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        except DecodeFailed as error:
            raise OSError(errno.EIO, error.reason, str(archive)) from error


def date(path: Path) -> int:
    """Give the date of a member's archive (nanoseconds), without a look inside; OSError where there is none."""
    archive, _ = _place(path)
    return files.stamp(os.stat(archive))[1]


def forget() -> None:
    """Let go of what is remembered of archives, and of what was unpacked."""
    with _guard:
        _remembered.clear()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Index, int, str]]:
    """Give what a member's archive holds, its descriptor and the member's name; whatever is wrong is DecodeFailed."""
    try:
        archive, name = _place(path)
        with files.open_regular(archive) as file:
            yield _index(archive, file), file.fileno(), name
    except KeyError:
        raise DecodeFailed(f"unreadable: no such member in {archive.name}") from None
    except (OSError, ValueError) as error:
        raise DecodeFailed(files.unreadable(error)) from error


def _place(path: Path) -> tuple[Path, str]:
    place = split(path)
    if place is None:
        os.stat(path)  # says what is wrong
        raise FileNotFoundError(errno.ENOENT, "not in an archive", str(path))
    return place


# --- what is remembered

Key = tuple[str, int, int, int]

_remembered: LRUCache[Key, Index] = LRUCache(REMEMBERED, getsizeof=lambda index: min(index.weight + 1, REMEMBERED))
_being_read: dict[Key, Lock] = {}
_guard = Lock()


def _index(archive: Path, file: BufferedReader) -> Index:
    """Give what the open archive holds; of threads that ask for the same one, the first reads it."""
    status = os.fstat(file.fileno())
    key = (os.fspath(archive), status.st_ino, status.st_size, status.st_mtime_ns)
    with _guard:
        if (index := _remembered.get(key)) is not None:
            return index
        lock = _being_read.setdefault(key, Lock())
    with lock:
        with _guard:
            index = _remembered.get(key)
        try:
            index = index or _read_index(archive, file)
        finally:
            with _guard:
                _being_read.pop(key, None)
                if index is not None:
                    _remembered[key] = index
    return index


def _read_index(archive: Path, file: BufferedReader) -> Index:
    match archive.suffix.lower():
        case ".parquet":
            from indexer.archived.parquets import ParquetIndex  # takes a while to import, and few need it

            return ParquetIndex(file)
        case ".zip":
            return ZipIndex(file)
    return TarIndex(file)
