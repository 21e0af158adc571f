"""Lines of JSON, each an object that names a picture and its text or texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from indexer.errors import BadDataset
from indexer.sources.columns import entry_of, find_columns, form, has_usual_columns
from indexer.sources.content import lines, parsed_line
from indexer.sources.entries import Entry, merged
from indexer.sources.fields import Fields, fields

_FORM = 'a line reads {"file": "a.jpg", "texts": ["a text", "another"]}'


def read(path: Path, *, picture: str | None, texts: Sequence[str]) -> list[Entry]:
    """Give the entries of a file, lines of one picture put together; raises BadDataset.

    `picture` and `texts` name keys, and are found by their usual names otherwise. Other keys are metadata.
    """
    return merged(path, of_lines(path, lines(path), picture=picture, texts=texts))


def of_lines(path: Path, found: Iterable[str], *, picture: str | None, texts: Sequence[str]) -> Iterator[Entry]:
    """Give the entries of lines, one by one; empty lines are passed over. Raises BadDataset."""
    records = [_record(path, number, line) for number, line in enumerate(found, start=1) if line.strip()]
    if not records:
        raise BadDataset(path, "", f"empty; {_FORM}")
    # A key may be missing in the first lines: the fifth caption of a picture that has but four.
    names = list(dict.fromkeys(key for record in records for key in record.values))
    columns = find_columns(path, "", names, picture=picture, texts=texts)
    reads = form(columns)
    return (entry_of(record._replace(form=reads), columns) for record in records)


def is_lines(start: str, *, whole: bool) -> bool:
    """Tell whether a file that begins so, or is so as a whole, holds an object per line and is not one itself."""
    first, end, rest = start.lstrip().partition("\n")
    if not (end or whole):
        return False
    try:
        value = parsed_line(first)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return False
    return bool(rest.strip()) or has_usual_columns(list(value))


def _record(path: Path, number: int, line: str) -> Fields:
    place = f"line {number}"
    try:
        return fields(path, place, parsed_line(line), _FORM)
    except ValueError:
        raise BadDataset(path, place, f"not JSON; {_FORM}") from None
