"""What can go wrong between a folder and a snapshot: each error carries its facts."""

from __future__ import annotations

from pathlib import Path


class IndexerError(Exception):
    """Any failure that the indexer names."""


class DecodeFailed(IndexerError):
    """A file that cannot be shown as a picture; `reason` is short and meant for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SourceMissing(IndexerError):
    """The folder or file that was to be indexed is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"nothing to index at {self.path}"


class PictureMissing(IndexerError):
    """The picture that was to be looked at is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"there is no picture at {self.path}"


class BadCaptions(IndexerError):
    """A captions file that does not hold what it should; `line` counts from 1, and is 0 for the file as a whole."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(path, line, reason)
        self.path = path
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        place = f"{self.path}, line {self.line}" if self.line else str(self.path)
        return f"{place}: {self.reason}"


class BadDataset(IndexerError):
    """A dataset that does not hold what it should; `place` is the record at fault, empty for the file as a whole."""

    def __init__(self, path: Path, place: str, reason: str) -> None:
        super().__init__(path, place, reason)
        self.path = path
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}, {self.place}: {self.reason}" if self.place else f"{self.path}: {self.reason}"


class OriginalMissing(IndexerError):
    """The file an item was made from is gone, or may no longer be looked at."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri
        self.reason = "missing"

    def __str__(self) -> str:
        return f"{self.uri} is missing"


class OriginalChanged(IndexerError):
    """The file an item was made from has another size or date than when it was indexed."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri
        self.reason = "changed since it was indexed"

    def __str__(self) -> str:
        return f"{self.uri} has changed since it was indexed"
