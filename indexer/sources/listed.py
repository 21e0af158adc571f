"""Lists inside an archive that say which texts describe which pictures: `captions.jsonl` and `metadata.csv`."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from indexer.archives import Member
from indexer.errors import BadDataset
from indexer.sources import jsonl, table
from indexer.sources.dataset import Example, Text
from indexer.sources.entries import Entry, merged
from indexer.sources.fields import quoted
from indexer.sources.shard import Shard, shown

NAMES = ("captions.jsonl", "metadata.jsonl", "captions.csv", "metadata.csv")
"""Ours, and those of Hugging Face's folders of images. Names in a list are relative to the folder it lies in."""

_NO_TEXT = "not one text; a dataset has pictures and texts"


def read(
    shard: Shard, lists: Sequence[Member], pictures: Collection[str], image: str | None, texts: tuple[str, ...]
) -> list[Example]:
    """Give the listed pictures, then those that no list names; raises BadDataset where none that is listed is there.

    A list is read by the rules of the same list on disk.
    """
    entries = [entry for member in lists for entry in _entries(shard, member, image, texts)]
    if not any(entry.name in pictures for entry in entries):
        reason = f"none of the pictures that are listed is in the archive, as {shown(entries[0].name)}"
        raise BadDataset(shard.path, entries[0].place, reason)
    found = [
        Example(
            shard.place(one.place), shard.named(one.name), shard.path / one.name, one.texts, one.split, one.metadata
        )
        for one in merged(shard.path, entries)
    ]
    named = {entry.name for entry in entries}
    return found + [
        Example(shard.place(shown(name)), shard.named(name), shard.path / name)
        for name in sorted(pictures, key=os.fsencode)
        if name not in named
    ]


def _entries(shard: Shard, member: Member, image: str | None, texts: tuple[str, ...]) -> list[Entry]:
    """Give what a list says, one text at least, with the places and keys that the archive has for it."""
    name = shown(member.name)
    content = shard.text(member, name)
    read_lines = table.of_lines if member.name.endswith(".csv") else jsonl.of_lines
    try:
        # As those of a file on disk, lines end in a line feed only.
        lines = list(io.StringIO(content, newline="\n"))
        said = list(read_lines(shard.path, lines, picture=image, texts=texts))
    except BadDataset as error:
        place = f"{name}, {error.place}" if error.place else name
        raise BadDataset(shard.path, place, error.reason) from None
    if not said:
        raise BadDataset(shard.path, name, _NO_TEXT)
    return [_inside(shard, member, entry) for entry in said]


def _inside(shard: Shard, member: Member, entry: Entry) -> Entry:
    """Name an entry's picture, its place and its texts as they are called in the archive."""
    place = f"{shown(member.name)}, {entry.place}"
    name = os.path.normpath(PurePosixPath(member.name).parent / entry.name)
    if name == ".." or name.startswith(("/", "../")):
        reason = f"its picture {quoted(entry.name)} leads out of the archive; names begin at the folder of their list"
        raise BadDataset(shard.path, place, reason)
    texts = tuple(Text(f"{shard.named(member.name)} {text.key}", text.text) for text in entry.texts)
    return entry._replace(place=place, name=name, texts=texts)
