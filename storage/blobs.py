"""Blobs: small files named by what they were made from, such as thumbnails. All of them can be made again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from storage.files import write_bytes_durably


class Blobs:
    """A folder of immutable files, spread over subfolders by the first letters of their names."""

    def __init__(self, folder: Path) -> None:
        """Keep blobs below `folder`."""
        self._folder = folder

    def get_or_make(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Read a blob, or make it and keep it, where there is room."""
        path = self._folder / name[:2] / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            content = make()
            with suppress(OSError):  # what cannot be kept is made again
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes_durably(path, content)
            return content
