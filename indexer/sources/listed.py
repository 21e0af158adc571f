"""Lists inside an archive that say which texts describe which pictures: `captions.jsonl` and `metadata.csv`."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from indexer.archives import Member
from indexer.errors import BadDataset
from indexer.sources.columns import PICTURE_NAMES, TEXT_NAMES
from indexer.sources.content import parsed_line
from indexer.sources.dataset import Example
from indexer.sources.entries import Entry, merged
from indexer.sources.fields import Fields, fields, quoted
from indexer.sources.shard import Shard, shown, strings, texts_of

NAMES = ("captions.jsonl", "metadata.jsonl", "captions.csv", "metadata.csv")
"""Ours, and those of Hugging Face's folders of images. Names in a list are relative to the folder it lies in."""

_FORM = 'a record reads {"file": "a name below the list\'s folder", "texts": ["a text", "another"]}'
_SPLIT = "split"


def read(
    shard: Shard, lists: Sequence[Member], pictures: Collection[str], image: str | None, texts: tuple[str, ...]
) -> list[Example]:
    """Give the listed pictures, then those that no list names; raises BadDataset where none that is listed is there."""
    rows = [row for member in lists for row in _rows(shard, member, image, texts)]
    if rows and not any(row.name in pictures for row in rows):
        reason = f"none of the pictures that are listed is in the archive, as {shown(rows[0].name)}"
        raise BadDataset(shard.path, rows[0].place, reason)
    found = [
        Example(
            shard.place(one.place), shard.named(one.name), shard.path / one.name, one.texts, one.split, one.metadata
        )
        for one in merged(shard.path, rows)
    ]
    named = {row.name for row in rows}
    return found + [
        Example(shard.place(shown(name)), shard.named(name), shard.path / name)
        for name in sorted(pictures, key=os.fsencode)
        if name not in named
    ]


def _rows(shard: Shard, member: Member, image: str | None, texts: tuple[str, ...]) -> Iterator[Entry]:
    folder = PurePosixPath(member.name).parent
    for number, record in _records(shard, member):
        yield _row(shard, folder, member, number, record, image, texts)


def _row(
    shard: Shard,
    folder: PurePosixPath,
    member: Member,
    number: int,
    record: Fields,
    image: str | None,
    texts: tuple[str, ...],
) -> Entry:
    for wanted in (image, *texts):
        if wanted is not None and wanted not in record.values:
            there = ", ".join(map(quoted, record.values))
            raise BadDataset(shard.path, record.place, f"no column is called {quoted(wanted)}; there are {there}")
    column = image or next((name for name in PICTURE_NAMES if name in record.values), "file")
    name = os.path.normpath(folder / record.name(column))
    if name.startswith(("/", "../")):
        raise record.bad(f"{quoted(column)} leads out of the archive")
    used = texts or tuple(name for name in TEXT_NAMES if name in record.values and name != column)[:1]
    said = [text for key in used for text in strings(shard, record.place, key, record.values[key])]
    key = f"{member.name} line {number}"
    return Entry(
        record.place,
        name,
        texts_of(shard, record.place, key, said),
        record.split(_SPLIT),
        record.metadata(column, *used, _SPLIT),
    )


def _records(shard: Shard, member: Member) -> Iterator[tuple[int, Fields]]:
    lines = shard.text(member, shown(member.name)).split("\n")
    parse = _csv if member.name.endswith(".csv") else _jsonl
    for number, value in parse(shard.path, shown(member.name), lines):
        yield number, fields(shard.path, f"{shown(member.name)}, line {number}", value, _FORM)


def _jsonl(path: Path, name: str, lines: Sequence[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, parsed_line(line)
            except ValueError:
                raise BadDataset(path, f"{name}, line {number}", f"not JSON; {_FORM}") from None


def _csv(path: Path, name: str, lines: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    header: list[str] = []
    number = 1
    try:
        for cells in reader:
            if cells and header and len(cells) != len(header):
                reason = f"{len(cells)} cells, but the header has {len(header)}"
                raise BadDataset(path, f"{name}, line {number}", reason)
            if cells and header:
                yield number, dict(zip(header, (cell.strip() for cell in cells), strict=True))
            elif cells:
                header = [cell.strip() for cell in cells]
            number = reader.line_num + 1
    except csv.Error as error:
        raise BadDataset(path, f"{name}, line {number}", f"no row of cells ({error})") from None
