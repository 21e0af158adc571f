"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from indexer.errors import SourceMissing


def expanded(path: Path | str) -> Path:
    """Replace a leading ~; the home of nobody is a path that is not there."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise SourceMissing(Path(path)) from None
