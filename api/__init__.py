"""The outside: command line, HTTP and library. `from api import Sightline` is the library's door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.library import Sightline

__all__ = ["Sightline"]


def __getattr__(name: str) -> Any:
    """Import the library only when it is asked for: `sightline --help` must not wait for it."""
    if name == "Sightline":
        from api.library import Sightline

        return Sightline
    raise AttributeError(f"module 'api' has no attribute {name!r}")
