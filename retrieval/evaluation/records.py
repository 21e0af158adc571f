"""Files of records that evaluations read: JSON and JSONL, with one line for whatever is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import BadRecords, in_one_line
from retrieval.texts import has_words

Record = Mapping[str, Any]

_SHOWN = 60
"""Letters of a key that a line shows."""


def read_json(path: Path) -> Any:
    """Read a JSON file as a whole; raises BadRecords."""
    try:
        return json.loads(_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadRecords(path, "", f"not JSON ({_first_line(error)})") from None


def read_lines(path: Path) -> Iterator[tuple[str, Record]]:
    """Read a JSONL file line by line: "line 3" and its object. Empty lines are passed over; raises BadRecords."""
    for number, line in enumerate(_bytes(path).removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadRecords(path, where, f"not JSON ({_first_line(error)})") from None
        if not isinstance(record, dict):
            raise BadRecords(path, where, "not an object")
        yield where, record


def text(path: Path, where: str, record: Record, key: str, form: str) -> str:
    """Read a text of a record; BadRecords says that it is missing, and the form that the record should have."""
    value = record.get(key)
    if isinstance(value, str) and value.strip() and is_unicode(value):
        return value
    raise BadRecords(path, where, f'"{key}" is missing or no text; {form}')


def words(path: Path, where: str, record: Record, key: str, form: str) -> str:
    """Read a text of a record that a model is to read: BadRecords too where it has neither a letter nor a digit."""
    value = text(path, where, record, key, form)
    if not has_words(value):
        raise BadRecords(path, where, f'"{key}" holds no words; {form}')
    return value


def quoted(key: str) -> str:
    """Show a key of a file in a line: in quotes, what cannot be seen escaped, what is long cut."""
    shown = key if len(key) <= _SHOWN else f"{key[:_SHOWN]}..."
    return f'"{in_one_line(shown)}"'


def is_unicode(value: str) -> bool:
    """Whether a text is more than what JSON allows: it lets half a character pass."""
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRecords(path, "", f"it cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # no name of a file
        raise BadRecords(path, "", f"it cannot be read ({error})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
