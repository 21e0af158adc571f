"""Uploads: pictures that a gallery was sent, kept below a folder of its own as if somebody had copied them there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from storage.errors import DiskFull, UploadRefused
from storage.files import sync_folder, write_bytes_durably
from storage.galleries import NAME, check_name

MOST_BYTES_OF_A_NAME = 255
MOST_BYTES_OF_A_PATH = 1024
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Uploads:
    """A folder for each gallery. Names are the senders': no file ever lies outside of its gallery's folder."""

    def __init__(self, folder: Path) -> None:
        """Keep uploads below `folder`."""
        self._folder = folder

    def folder(self, gallery: str) -> Path:
        """Say where the pictures of a gallery lie, or would."""
        check_name(gallery)
        return self._folder / gallery

    def is_any(self, gallery: str) -> bool:
        """Say whether something was uploaded into a gallery."""
        return NAME.fullmatch(gallery) is not None and self.folder(gallery).is_dir()

    def keep(self, gallery: str, name: str, content: bytes) -> None:
        """Keep a file durably, in place of one of that name; raises UploadRefused for a name that cannot be."""
        path = self.folder(gallery).joinpath(*_parts(name))
        with _explained(name):
            _make_folders(path.parent)
            if not path.parent.resolve().is_relative_to(self.folder(gallery).resolve()):
                raise UploadRefused(name, "its folder is a link to elsewhere")
            if not _holds(path, content):
                write_bytes_durably(path, content)

    def remove(self, gallery: str) -> None:
        """Delete what was uploaded into a gallery."""
        if not self.is_any(gallery):
            return
        # Moved first, so that a gallery of the same name that is made meanwhile does not lose its pictures.
        gone = self._folder / f".{uuid4().hex}"
        self.folder(gallery).rename(gone)
        sync_folder(self._folder)
        shutil.rmtree(gone)


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


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Word what the operating system says about a name, or about the disk."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull((error.strerror or "").lower()) from error
        if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
            raise UploadRefused(name, "a folder and a file cannot have the same name") from error
        if error.errno in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}:
            raise UploadRefused(name, f"it cannot be stored: {(error.strerror or '').lower()}") from error
        raise
