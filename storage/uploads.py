"""Uploads: pictures that a gallery was sent, kept below a folder of its own as if somebody had copied them there."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from uuid import uuid4

from storage.errors import UploadRefused, UploadsFull
from storage.files import needing_room, sync_folder, write_bytes_durably
from storage.galleries import can_be_named, check_name

MOST_BYTES_OF_A_NAME = 255
MOST_BYTES_OF_A_PATH = 1024
ASIDE = re.compile(r"\.[0-9a-f]{32}")
"""The folder of a gallery that is being deleted: no gallery can have this name."""


class Uploads:
    """A folder for each gallery. Names are the senders': no file ever lies outside of its gallery's folder."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        """Keep uploads below `folder`, at most so many bytes together."""
        self._folder, self._most_bytes = folder, most_bytes
        self._lock = Lock()
        self._bytes: int | None = None
        """What is there, as far as this process knows; None where it has to be counted."""

    def folder(self, gallery: str) -> Path:
        """Say where the pictures of a gallery lie, or would."""
        check_name(gallery)
        return self._folder / gallery

    def is_any(self, gallery: str) -> bool:
        """Say whether something was uploaded into a gallery."""
        return can_be_named(gallery) and os.path.isdir(self.folder(gallery))

    def keep(self, gallery: str, name: str, content: bytes) -> None:
        """Keep a file durably, in place of one of that name.

        Raises UploadRefused for a name that cannot be, UploadsFull and DiskFull.
        """
        path = self.folder(gallery).joinpath(*_parts(name))
        with _explained(name):
            _make_folders(path.parent)
            if not path.parent.resolve().is_relative_to(self.folder(gallery).resolve()):
                raise UploadRefused(name, "its folder is a link to elsewhere")
            if not _holds(path, content):
                with self._room(len(content) - _size(path)):
                    write_bytes_durably(path, content)

    @contextmanager
    def removing(self) -> Iterator[Callable[[str], None]]:
        """Give a function that takes what was uploaded into a gallery out of reach.

        It is deleted when the block ends well, and put back where it raises. What a killed process leaves is out of
        reach too, so that no later gallery of that name has it; `sweep` deletes it.
        """
        moved: list[tuple[Path, Path]] = []

        def set_aside(gallery: str) -> None:
            if self.is_any(gallery):
                place, aside = self.folder(gallery), self._folder / f".{uuid4().hex}"
                place.rename(aside)
                moved.append((place, aside))
                sync_folder(self._folder)

        try:
            yield set_aside
        except BaseException:
            for place, aside in moved:
                aside.rename(place)
            raise
        for _, aside in moved:
            self._delete(aside)

    def sweep(self) -> None:
        """Delete what killed processes have left of deleted galleries."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if ASIDE.fullmatch(name):
                    self._delete(self._folder / name)

    @contextmanager
    def _room(self, more: int) -> Iterator[None]:
        """Count bytes that are about to be written, or raise UploadsFull."""
        with self._lock:
            for known in (self._bytes, None):
                # Before anything is refused it is counted again: another process may have deleted some.
                self._bytes = (_bytes_below(self._folder) if known is None else known) + more
                if self._bytes <= self._most_bytes:
                    break
            else:
                self._bytes = None
                raise UploadsFull(self._most_bytes)
        try:
            yield
        except BaseException:
            self._bytes = None
            raise

    def _delete(self, aside: Path) -> None:
        shutil.rmtree(aside, ignore_errors=True)  # what is left is swept up by the next process
        self._bytes = None


def _parts(name: str) -> Sequence[str]:
    """Take a name apart at its slashes, and refuse what is none of the folder's own."""
    parts = name.split("/")
    try:
        lengths = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise UploadRefused(name, "its name holds half a character") from None
    if not name:
        raise UploadRefused(name, "it has no name")
    if "\0" in name:
        raise UploadRefused(name, "its name holds a zero byte")
    if any(part in {"", ".", ".."} for part in parts):
        raise UploadRefused(name, "its name leads out of the gallery's folder or has an empty part")
    if any(part.startswith(".") for part in parts):
        raise UploadRefused(name, "names that begin with a dot are hidden and are not indexed")
    if max(lengths) > MOST_BYTES_OF_A_NAME or sum(lengths) + len(lengths) > MOST_BYTES_OF_A_PATH:
        raise UploadRefused(name, f"its name is too long; a part may have {MOST_BYTES_OF_A_NAME} bytes")
    return parts


def _make_folders(folder: Path) -> None:
    """Make a folder with all above it, durably."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file is there with this content already: then its date stays, and it need not be indexed again."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes_below(folder: Path) -> int:
    """Count the bytes of all files below a folder; what goes meanwhile is not counted."""
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(root, name)).st_size
    return size


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Word what the operating system says about a name, or about the disk."""
    try:
        with needing_room():
            yield
    except OSError as error:
        if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
            raise UploadRefused(name, "a folder and a file cannot have the same name") from error
        if isinstance(error, FileNotFoundError):
            raise UploadRefused(name, "its gallery was deleted while it came; send it again") from error
        if error.errno in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EACCES, errno.EPERM}:
            raise UploadRefused(name, f"it cannot be stored: {(error.strerror or '').lower()}") from error
        raise
