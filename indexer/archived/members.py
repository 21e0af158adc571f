"""What is inside an archive: names that are safe to put below its path, sizes, and what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from indexer.errors import DecodeFailed

MEMBER_LIMIT = 1 << 28
"""Bytes that a member may have: who decodes it holds it as a whole, in every thread. No picture file is so large."""

CHUNK = 1 << 20
"""Bytes of a member that are held where it is not wanted as a whole."""

ENDS_EARLY = "truncated: the archive ends early"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, its size in bytes, and why it cannot be read where that is known already."""

    name: str
    size: int
    refused: str = ""


class Index(Protocol):
    """What one version of an archive holds. Safe in threads; `file` is that version, open."""

    weight: int
    """How much room it takes among the indices that are remembered, in members."""

    def members(self) -> list[Member]:
        """List the members in the archive's order, double names included."""
        ...

    def size(self, name: str) -> int:
        """Give the bytes that a member has; KeyError where there is none of the name."""
        ...

    def read(self, file: int, name: str) -> bytes:
        """Read a member through the archive's descriptor; KeyError, or DecodeFailed with a reason."""
        ...

    def chunks(self, file: int, name: str) -> Iterator[bytes]:
        """Read a member part by part, as `read` does; what is wrong with it may show only at its end."""
        ...


M = TypeVar("M", bound=Member)


class Named(Generic[M]):
    """Members by name, as tar and zip have them. Of a double name the last counts, as it does on unpacking."""

    def __init__(self, members: Sequence[M]) -> None:
        self._members = members
        self._by_name = {member.name: member for member in members}
        self.weight = len(members)

    def members(self) -> list[Member]:
        """List the members in the archive's order, double names included."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Give the bytes that a member has; KeyError where there is none of the name."""
        return self._by_name[name].size

    def readable(self, name: str) -> M:
        """Find a member; KeyError where there is none of the name, DecodeFailed where it cannot be read."""
        member = self._by_name[name]
        if member.refused:
            raise DecodeFailed(member.refused)
        if member.size > MEMBER_LIMIT:
            raise too_large(member.size)
        return member


def too_large(size: int) -> DecodeFailed:
    """Word that a member has more bytes than MEMBER_LIMIT."""
    return DecodeFailed(f"too large: {size} bytes in an archive, the limit is {MEMBER_LIMIT}")


def name_below(raw: str) -> str:
    """Write a member's name as a path below its archive; DecodeFailed for one that leads out of it.

    Nothing is unpacked, so such a name could do no harm here, but the item's place would mean another file to whoever
    resolves it.
    """
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    if raw.startswith("/") or ".." in parts or not parts or "\0" in raw:
        raise DecodeFailed(f"the member {raw[:100]!r} is not named below the archive; pack it with relative names")
    return "/".join(parts)


def read_at(file: int, start: int, size: int) -> bytes:
    """Read from a place in a file without moving in it, so that threads can share it; fewer bytes only at its end."""
    parts = []
    while size > 0 and (part := os.pread(file, size, start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)


def chunks_at(file: int, start: int, size: int) -> Iterator[bytes]:
    """Read from a place in a file as `read_at` does, CHUNK bytes at a time."""
    for place in range(start, start + size, CHUNK):
        yield read_at(file, place, min(CHUNK, start + size - place))
