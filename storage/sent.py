"""Pictures that were sent to search by: kept for a while under the digest of their bytes, the newest ones."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from threading import Lock

from storage.errors import QueryPictureGone
from storage.files import needing_room, write_bytes_durably

DIGEST = re.compile(r"[0-9a-f]{64}")


class SentPictures:
    """A bounded folder of files named by content; what was not used for longest goes first."""

    def __init__(self, folder: Path, *, most_bytes: int, most_pictures: int) -> None:
        """Keep at most so many bytes and pictures in `folder`."""
        self._folder, self._most_bytes, self._most_pictures = folder, most_bytes, most_pictures
        self._lock = Lock()

    def keep(self, content: bytes) -> str:
        """Keep a picture and give its digest; raises DiskFull."""
        digest = hashlib.sha256(content).hexdigest()
        with self._lock, needing_room():
            self._folder.mkdir(parents=True, exist_ok=True)
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
        kept: list[tuple[os.stat_result, str]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # Another process may drop one meanwhile.
                with suppress(FileNotFoundError):
                    if DIGEST.fullmatch(entry.name):
                        kept.append((entry.stat(), entry.name))
        pictures, size = len(kept), sum(status.st_size for status, _ in kept)
        for status, name in sorted(kept, key=lambda one: one[0].st_mtime_ns):
            if (pictures <= self._most_pictures and size <= self._most_bytes) or name == newest:
                break
            (self._folder / name).unlink(missing_ok=True)
            pictures, size = pictures - 1, size - status.st_size
