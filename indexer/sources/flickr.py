"""Flickr8k's and Flickr30k's own files: a line per text, with the picture's name and the text's number before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from indexer.errors import BadDataset
from indexer.sources.content import numbered
from indexer.sources.dataset import Text
from indexer.sources.entries import Entry, merged
from indexer.sources.fields import Fields

_TOKEN = re.compile(r"(?P<name>[^\t]*)#(?P<number>\d+)[ ]*\t(?P<text>.*)")
# Line 20,001 of Flickr30k's results.csv as Kaggle has it lacks the second bar: `2199200615.jpg| 4   A dog runs ...`.
_BARS = re.compile(r"(?P<name>[^|]*)\|\s*(?P<number>\d+)(?:\s*\||\s)(?P<text>.*)")
_HEADER = re.compile(r"image(_name)?\s*\|\s*comment_number\s*\|\s*comment", re.IGNORECASE)
_FORM = 'a line reads "a.jpg#0<tab>a text" or "a.jpg| 0| a text"'


def is_line(line: str) -> bool:
    """Tell whether a file that begins with this line is one of these."""
    return bool(_HEADER.fullmatch(line.strip()) or _TOKEN.fullmatch(line) or _BARS.fullmatch(line))


def read(path: Path) -> list[Entry]:
    """Give the entries of a file, lines of one picture put together; raises BadDataset."""
    return merged(path, _entries(path))


def _entries(path: Path) -> Iterator[Entry]:
    places: dict[str, str] = {}
    for number, line in numbered(path):
        if number == 1 and _HEADER.fullmatch(line.strip()):
            continue
        place = f"line {number}"
        match = _TOKEN.fullmatch(line) or _BARS.fullmatch(line)
        if match is None:
            raise BadDataset(path, place, f"neither a text of a picture nor empty; {_FORM}")
        parts = Fields(path, place, {key: part.strip() for key, part in match.groupdict().items()}, _FORM)
        name = parts.name("name")
        key = f"{name}#{parts.values['number']}"
        if places.setdefault(key, place) != place:
            raise parts.bad(f"text {parts.values['number']} of this picture is in {places[key]} too")
        yield Entry(place, name, (Text(key, parts.text("text")),), None, {})
