"""ALBEF's and BLIP's files of retrieval: a list that names a picture and its text or texts, entry by entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexer.errors import BadDataset
from indexer.sources.dataset import Text
from indexer.sources.entries import Entry, merged, texts_of
from indexer.sources.fields import fields, kind

_FILE = 'a file of retrieval reads [{"image": "a.jpg", "caption": "a text"}, ...]'
_ENTRY = (
    'an entry reads {"image": "a.jpg", "caption": "a text"} or {"image": "a.jpg", "caption": ["a text", "another"]}'
)


def read(path: Path, value: Any) -> list[Entry]:
    """Give the entries of a parsed file; raises BadDataset.

    Files to evaluate with have an entry per picture, files to train on one per text: entries of one picture are put
    together. The place `[3]` is the fourth entry, `row 3` its text and `row 3#1` the second of its texts.
    """
    if not isinstance(value, list):
        raise BadDataset(path, "", f"{kind(value)}, not a list; {_FILE}")
    return merged(path, (_entry(path, i, entry) for i, entry in enumerate(value)))


def _entry(path: Path, i: int, value: Any) -> Entry:
    record = fields(path, f"[{i}]", value, _ENTRY)
    texts: tuple[Text, ...]
    if isinstance(record.value("caption"), str):
        texts = (Text(f"row {i}", record.text("caption")),)
    else:
        texts = texts_of(f"row {i}", record.texts("caption"))
    told = record.metadata("image", "caption", "split")
    return Entry(record.place, record.name("image"), texts, record.split("split"), told)
