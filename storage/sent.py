"""Pictures that were sent to search by: kept for a while under the digest of their bytes, the newest ones."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from threading import Lock

from storage.errors import QueryPictureGone
from storage.files import write_bytes_durably

DIGEST = re.compile(r"[0-9a-f]{64}")


class SentPictures:
    """A bounded folder of files named by content; what was not used for longest goes first."""

    def __init__(self, folder: Path, *, most_bytes: int, most_pictures: int) -> None:
        """Keep at most so many bytes and pictures in `folder`."""
        self._folder, self._most_bytes, self._most_pictures = folder, most_bytes, most_pictures
        self._lock = Lock()

    def keep(self, content: bytes) -> str:
        """Keep a picture and give its digest."""
        digest = hashlib.sha256(content).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            write_bytes_durably(self._folder / digest, content)
            self._drop_oldest(digest)
        return digest

    def open(self, digest: str) -> bytes:
        """Read a picture, which counts as a use, or raise QueryPictureGone."""
        if not DIGEST.fullmatch(digest):
            raise QueryPictureGone(digest)
        path = self._folder / digest
        try:
            content = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            raise QueryPictureGone(digest) from None
        return content

    def _drop_oldest(self, newest: str) -> None:
        with os.scandir(self._folder) as entries:
            kept = [(entry.stat(), entry.name) for entry in entries if DIGEST.fullmatch(entry.name)]
        pictures, size = len(kept), sum(status.st_size for status, _ in kept)
        for status, name in sorted(kept, key=lambda one: one[0].st_mtime_ns):
            if (pictures <= self._most_pictures and size <= self._most_bytes) or name == newest:
                break
            (self._folder / name).unlink(missing_ok=True)
            pictures, size = pictures - 1, size - status.st_size
