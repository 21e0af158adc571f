"""The columns of a table that name pictures and hold texts: by their usual names, unless the user names them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import BadDataset
from indexer.sources.dataset import Text
from indexer.sources.entries import Entry, texts_of
from indexer.sources.fields import Fields, listed, quoted

PICTURE_NAMES = (
    *("file_name", "filename", "image_file", "image_path", "image_name", "img_path", "filepath", "file_path"),
    *("image", "img", "picture", "photo", "file", "path"),
)
TEXT_NAMES = ("caption", "captions", "text", "texts", "sentence", "sentences", "description", "title", "comment", "raw")
_OPTIONS = "name them with --image-column and --text-column"


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns, as the file spells them."""

    picture: str
    texts: tuple[str, ...]


def find_columns(path: Path, place: str, names: Sequence[str], *, picture: str | None, texts: Sequence[str]) -> Columns:
    """Find the columns among the names that a table has; raises BadDataset.

    Without names from the user, the first usual name that there is wins, and with it all that only add a number or a
    letter: `caption_0` and `caption_1`, or `text_a` and `text_b`. Capitals do not count.
    """
    for wanted in (picture, *texts):
        if wanted is not None and wanted not in names:
            raise BadDataset(path, place, f"no column is called {quoted(wanted)}; {_told(names)}")
    found_picture = picture or _usual_picture(names)
    if found_picture is None:
        raise BadDataset(path, place, f"no column names the pictures; {_told(names)}; {_OPTIONS}")
    found_texts = tuple(dict.fromkeys(texts)) or _usual_texts(names, found_picture)
    if not found_texts:
        raise BadDataset(path, place, f"no column holds the texts; {_told(names)}; {_OPTIONS}")
    return Columns(found_picture, found_texts)


def has_usual_columns(names: Sequence[str]) -> bool:
    """Tell whether a table with these columns would be understood without a word from the user."""
    picture = _usual_picture(names)
    return picture is not None and bool(_usual_texts(names, picture))


def entry_of(record: Fields, columns: Columns) -> Entry:
    """Give what a record of a table says.

    A cell is a text or a list of texts. Where several columns hold texts, some may be empty. A column called `split`
    is the split, and all others are metadata.
    """
    several = len(columns.texts) > 1
    filled = [column for column in columns.texts if not several or not _is_empty(record.values.get(column))]
    if not filled:
        raise record.bad(f"no text in {listed([quoted(column) for column in columns.texts])}")
    keys = [f"{record.place} {column}" if several else record.place for column in filled]
    texts = tuple(text for key, column in zip(keys, filled, strict=True) for text in _texts(record, column, key))
    taken = (columns.picture, *columns.texts)
    split = next((key for key in record.values if key not in taken and key.strip().lower() == "split"), "split")
    told = record.metadata(*taken, split)
    return Entry(record.place, record.name(columns.picture), texts, record.split(split), told)


def form(columns: Columns) -> str:
    """Say what a record of such a table reads."""
    return f"a record has {quoted(columns.picture)} and {listed([quoted(column) for column in columns.texts])}"


def lists_unpacked(cells: Mapping[str, str], columns: Sequence[str]) -> dict[str, Any]:
    """Give the cells with the lists of texts that are written as JSON in some columns: `["a text", "another"]`."""
    return {name: _list(cell) if name in columns else cell for name, cell in cells.items()}


def _texts(record: Fields, column: str, key: str) -> tuple[Text, ...]:
    if isinstance(record.value(column), str):
        return (Text(key, record.text(column)),)
    return texts_of(key, record.texts(column))


def _list(cell: str) -> Any:
    if not cell.lstrip().startswith('["'):
        return cell
    try:
        listed = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return listed if all(isinstance(entry, str) for entry in listed) else cell


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _usual_picture(names: Sequence[str]) -> str | None:
    return next((column for usual in PICTURE_NAMES for column in _spelt(usual, names)), None)


def _usual_texts(names: Sequence[str], picture: str) -> tuple[str, ...]:
    others = [name for name in names if name != picture]
    return next(filter(None, (_family(usual, others) for usual in TEXT_NAMES)), ())


def _spelt(usual: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.strip().lower() == usual]


def _family(usual: str, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if re.fullmatch(rf"{usual}(?:[ _-]?\d+|[ _-][a-z])?", name.strip().lower()))


def _told(names: Sequence[str]) -> str:
    return f"its columns are {listed([quoted(name) for name in names])}"
