"""What the entries of a dataset say: each names a picture, and several may name the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from indexer.errors import BadDataset
from indexer.sources.dataset import Text
from indexer.sources.fields import quoted


class Entry(NamedTuple):
    """What one entry says: where it stands, the picture it names, its texts, its split and whatever else it tells."""

    place: str
    name: str
    texts: tuple[Text, ...]
    split: str | None
    metadata: Mapping[str, Any]


def merged(path: Path, entries: Iterable[Entry]) -> list[Entry]:
    """Put the entries of each picture together, pictures in the order of their first, texts in that of the entries.

    The place is the first entry's. What all entries of a picture tell alike is told once, else as a list with a value
    per entry, null where it tells none. Raises BadDataset where two entries put a picture into two splits.
    """
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry)
    return [of_one[0] if len(of_one) == 1 else _together(path, of_one) for of_one in by_name.values()]


def texts_of(key: str, texts: Sequence[str]) -> tuple[Text, ...]:
    """Give each text of a list a key of its own: that of the list, and the position in it."""
    return tuple(Text(f"{key}#{i}", text) for i, text in enumerate(texts))


def _together(path: Path, entries: Sequence[Entry]) -> Entry:
    first = entries[0]
    for entry in entries:
        if entry.split != first.split:
            here, there = (quoted(split) if split else "none" for split in (entry.split, first.split))
            reason = f"the split of {quoted(entry.name)} is {here} here and {there} in {first.place}"
            raise BadDataset(path, entry.place, f"{reason}; a picture is in one split")
    texts = tuple(text for entry in entries for text in entry.texts)
    return Entry(first.place, first.name, texts, first.split, _told(entries))


def _told(entries: Sequence[Entry]) -> dict[str, Any]:
    keys = dict.fromkeys(key for entry in entries for key in entry.metadata)
    told = {key: [entry.metadata.get(key) for entry in entries] for key in keys}
    return {key: values[0] if all(value == values[0] for value in values) else values for key, values in told.items()}
