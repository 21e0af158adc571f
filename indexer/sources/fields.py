"""The fields of one record of a dataset: each is there and of its kind, or `BadDataset` names the record."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from indexer.errors import BadDataset

# Databases refuse zero bytes and halves of surrogate pairs, and no file has such a name.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SHOWN = 60
_LISTED = 20


class Fields(NamedTuple):
    """A record: the file, the place in it, the values by key, and a sentence that tells what such a record reads."""

    # A named tuple is made three times as fast as a frozen dataclass, and COCO has 700,000 records.

    path: Path
    place: str
    values: Mapping[str, Any]
    form: str

    def bad(self, reason: str) -> BadDataset:
        """Give the error that names this record and what it should read."""
        return BadDataset(self.path, self.place, f"{reason}; {self.form}")

    def value(self, key: str) -> Any:
        """Give whatever stands under a key."""
        try:
            return self.values[key]
        except KeyError:
            raise self.bad(f'"{key}" is missing') from None

    def name(self, key: str) -> str:
        """Give the name of a picture, as it is."""
        name = self.value(key)
        if not isinstance(name, str):
            raise self.bad(f'"{key}" is {kind(name)}, not the name of a picture')
        return self.checked_name(key, name)

    def checked_name(self, key: str, name: str) -> str:
        """Give a name back if a picture can have it."""
        if not name.strip():
            raise self.bad(f'"{key}" is empty')
        if _UNSTORABLE.search(name):
            raise self.bad(f'"{key}" holds a zero byte or half a character: {quoted(name)}')
        return name

    def text(self, key: str) -> str:
        """Give a text, stripped."""
        return self.checked_text(f'"{key}"', self.value(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Give the texts of a list, stripped; there is one at least."""
        texts = self.value(key)
        if not isinstance(texts, list):
            raise self.bad(f'"{key}" is {kind(texts)}, not a text or a list of texts')
        if not texts:
            raise self.bad(f'"{key}" is an empty list')
        return tuple(self.checked_text(f'"{key}"[{i}]', text) for i, text in enumerate(texts))

    def checked_text(self, shown: str, text: Any) -> str:
        """Give a text back stripped, if it says something that can be stored; `shown` names its key."""
        if not isinstance(text, str):
            raise self.bad(f"{shown} is {kind(text)}, not a text")
        stripped = text.strip()
        if not stripped:
            raise self.bad(f"{shown} is empty")
        if _UNSTORABLE.search(stripped):
            raise self.bad(f"{shown} holds a zero byte or half a character: {quoted(stripped)}")
        return stripped

    def identifier(self, key: str) -> int | str:
        """Give an id: a whole number or a text."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise self.bad(f'"{key}" is {kind(value)}, not an id')
        if isinstance(value, str) and _UNSTORABLE.search(value):
            raise self.bad(f'"{key}" holds a zero byte or half a character: {quoted(value)}')
        return value

    def once(self, key: str, places: dict[str, str]) -> int | str:
        """Give an id that no record before has; `places` remembers which record has which."""
        value = self.identifier(key)
        first = places.setdefault(str(value), self.place)
        if first != self.place:
            raise self.bad(f'"{key}" {quoted(value)} is that of {first} too')
        return value

    def number(self, key: str) -> int | float:
        """Give a finite number."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.bad(f'"{key}" is {kind(value)}, not a number')
        return value

    def split(self, key: str) -> str | None:
        """Give the name of the split, None where there is none."""
        value = self.values.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        return self.checked_text(f'"{key}"', value)

    def entries(self, key: str) -> list[Any]:
        """Give a list."""
        value = self.value(key)
        if not isinstance(value, list):
            raise self.bad(f'"{key}" is {kind(value)}, not a list')
        return value

    def metadata(self, *known: str) -> dict[str, Any]:
        """Give what is told besides the known keys: texts, numbers, truths and lists of these; the rest is left out."""
        others = {key: value for key, value in self.values.items() if key and key not in known}
        for key in others:
            if _UNSTORABLE.search(key):
                raise self.bad(f"a key holds a zero byte or half a character: {quoted(key)}")
        return {key: plain for key, value in others.items() if (plain := self._plain(key, value)) is not None}

    def _plain(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            if _UNSTORABLE.search(value):
                raise self.bad(f"{quoted(key)} holds a zero byte or half a character: {quoted(value)}")
            return value or None
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, int):
            return value
        if isinstance(value, list) and all(isinstance(entry, str | int | float | list) for entry in value):
            return [plain for entry in value if (plain := self._plain(key, entry)) is not None] or None
        return None


def fields(path: Path, place: str, value: Any, form: str) -> Fields:
    """Take a value for a record; raises BadDataset where it is no object."""
    if not isinstance(value, dict):
        raise BadDataset(path, place, f"{kind(value)}, not an object; {form}")
    return Fields(path, place, value, form)


def kind(value: Any) -> str:
    """Say in words what a JSON value is: `a number`, `null`, ..."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case "":
            return "an empty text"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object"


def quoted(value: object) -> str:
    """Show a value of a file in one line: texts in quotes, what cannot be seen escaped, what is long cut."""
    if not isinstance(value, str):
        return str(value)
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    return '"' + "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in shown) + '"'


def listed(shown: Sequence[str]) -> str:
    """Write what is shown of several values in one line, the first twenty of many."""
    first = ", ".join(shown[:_LISTED])
    return first if len(shown) <= _LISTED else f"{first} and {len(shown) - _LISTED} more"
