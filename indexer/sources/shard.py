"""One archive of a dataset: what is inside, how its samples are named, and how their errors are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer import archives
from indexer.archives import Member
from indexer.errors import BadDataset, DecodeFailed
from indexer.sources.dataset import Text
from indexer.sources.fields import kind, quoted

TEXT_LIMIT = 1 << 28
"""Bytes that a member with texts may have."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Shard:
    """An archive; `label` is put before names within it where a dataset has several: "00000.tar/"."""

    path: Path
    label: str = ""

    def members(self) -> list[Member]:
        """List the members in the archive's order; raises BadDataset, also where two have one name."""
        try:
            members = archives.members(self.path)
        except DecodeFailed as error:
            raise BadDataset(self.path, "", error.reason) from error
        names = set()
        for member in members:
            if member.name in names:
                raise BadDataset(self.path, f"member {shown(member.name)}", "two members have this name")
            names.add(member.name)
        return members

    def text(self, member: Member, place: str) -> str:
        """Read a member as UTF-8; raises BadDataset that names a place."""
        if member.size > TEXT_LIMIT:
            reason = f"{shown(member.name)} has {member.size} bytes; a file of texts may have {TEXT_LIMIT}"
            raise BadDataset(self.path, place, reason)
        try:
            return archives.read(self.path / member.name).decode("utf-8-sig")
        except DecodeFailed as error:
            raise BadDataset(self.path, place, f"{shown(member.name)}: {error.reason}") from error
        except UnicodeDecodeError:
            raise BadDataset(self.path, place, f"{shown(member.name)} is not UTF-8") from None

    def place(self, place: str) -> str:
        """Name a place in the dataset: with the archive's name where there are several."""
        return f"{self.label[:-1]}, {place}" if self.label else place

    def named(self, name: str) -> str:
        """Name something in the dataset as it is called in the archive."""
        return storable(self.label + name)


def texts_of(shard: Shard, place: str, key: str, values: Sequence[str]) -> tuple[Text, ...]:
    """Give each text that says something a key; raises BadDataset for what no database can hold."""
    said = [value.strip() for value in values if value.strip()]
    for text in said:
        if _UNSTORABLE.search(text):
            raise BadDataset(shard.path, place, f"a text holds a zero byte or half a character: {quoted(text)}")
    named = shard.named(key)
    return (Text(named, said[0]),) if len(said) == 1 else tuple(Text(f"{named}#{i}", t) for i, t in enumerate(said))


def strings(shard: Shard, place: str, column: str, value: Any) -> list[str]:
    """Take a value for the texts of a column: a text, a list of texts, or nothing; raises BadDataset."""
    match value:
        case None:
            return []
        case str():
            return [value]
        case list() if all(isinstance(one, str) for one in value):
            return value
    raise BadDataset(shard.path, place, f"{quoted(column)} is {kind(value)}, not a text or a list of texts")


def shown(name: str) -> str:
    """Show a member's name in a line."""
    return name if name.isprintable() else quoted(storable(name))


def storable(name: str) -> str:
    r"""Write a name so that databases hold it: bytes that are no UTF-8 as `\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
