"""The door to datasets: a file that describes pictures, in whichever layout, becomes a `Dataset`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.archives import is_archive
from indexer.errors import BadDataset, SourceMissing
from indexer.sources import blip, coco, flickr, jsonl, karpathy, sbu, table, visual_genome
from indexer.sources.content import HEAD_BYTES, head, parsed
from indexer.sources.dataset import Dataset, Example
from indexer.sources.entries import Entry
from indexer.sources.fields import listed, quoted
from indexer.sources.pictures import placed, settled

SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".token"})
LAYOUTS: tuple[str, ...] = ("coco", "karpathy", "blip", "visual-genome", "flickr", "sbu", "csv", "tsv", "jsonl")
_JSON = ("coco", "karpathy", "blip", "visual-genome")
_TABLES = ("csv", "tsv", "jsonl")
_JSON_BEGINS = re.compile(r"\{|\[\s*[\[\]{\"\d-]")

_JSON_LOOKED_FOR = (
    'this JSON has none of the layouts looked for: {"images", "annotations"} (coco), {"images": [{"sentences"}]} '
    '(karpathy), [{"image", "caption"}] (blip), [{"id", "regions"}] (visual-genome)'
)
_TEXT_LOOKED_FOR = (
    'its first line has none of the layouts looked for: "a.jpg#0<tab>a text" or "a.jpg| 0| a text" (flickr), an '
    "address, with the texts in a second file (sbu), an object of JSON per line (jsonl), names of columns (csv, tsv)"
)


@dataclass(frozen=True)
class Reading:
    """What the user may say about a dataset; None means: find out.

    `layout` is one of LAYOUTS, `images` the folder or archive that the pictures' names are relative to, `split` the
    only one whose examples are wanted. The columns are those of a table: CSV, TSV, lines of JSON.
    """

    layout: str | None = None
    images: Path | None = None
    split: str | None = None
    image_column: str | None = None
    text_columns: tuple[str, ...] = ()


def is_dataset(path: Path) -> bool:
    """Tell whether a path is a file that could be a dataset, by its suffix."""
    return path.suffix.lower() in SUFFIXES and os.path.isfile(path)


def read(path: Path, reading: Reading) -> Dataset:
    """Read a dataset whole; raises SourceMissing, or BadDataset with the record that is at fault.

    The dataset's path is absolute; of SBU's two files it is the one with the addresses, whichever was given.
    """
    _check(path, reading)
    path = settled(path)
    layout, value = _content(path, reading.layout)
    if layout == "sbu":
        path = sbu.addresses(path)
    if layout not in _TABLES and (reading.image_column is not None or reading.text_columns):
        tables = f"{', '.join(_TABLES[:-1])} and {_TABLES[-1]}"
        raise BadDataset(path, "", f"--image-column and --text-column are for {tables}; this is {layout}")
    entries = _of_split(path, _entries(path, layout, value, reading), reading.split)
    if not any(entry.texts for entry in entries):
        raise BadDataset(path, "", "not one text; a dataset has pictures and texts")
    return Dataset(path, layout, _distinct(path, placed(path, entries, reading.images)))


def _check(path: Path, reading: Reading) -> None:
    if not os.path.isfile(path):
        raise SourceMissing(path)
    if reading.layout is not None and reading.layout not in LAYOUTS:
        raise BadDataset(path, "", f"no layout is called {quoted(reading.layout)}; there are {', '.join(LAYOUTS)}")
    images = reading.images
    if images is not None and not (os.path.isdir(images) or (os.path.isfile(images) and is_archive(images))):
        raise BadDataset(path, "", f"its pictures are not in {images}: no such folder, and no archive")


def _entries(path: Path, layout: str, value: Any, reading: Reading) -> list[Entry]:
    picture, texts = reading.image_column, reading.text_columns
    match layout:
        case "coco":
            return coco.read(path, value)
        case "karpathy":
            return karpathy.read(path, value)
        case "blip":
            return blip.read(path, value)
        case "visual-genome":
            return visual_genome.read(path, value)
        case "flickr":
            return flickr.read(path)
        case "sbu":
            return sbu.read(path)
        case "jsonl":
            return jsonl.read(path, picture=picture, texts=texts)
        case _:
            return table.read(path, layout, picture=picture, texts=texts)


# --- which layout


def _content(path: Path, layout: str | None) -> tuple[str, Any]:
    """The layout, and the parsed value where that is JSON: what is large is parsed once."""
    if layout is None:
        layout = _text_layout(path, head(path))
    if layout is not None and layout not in _JSON:
        return layout, None
    value = parsed(path)
    return layout or _json_layout(path, value), value


def _text_layout(path: Path, start: str) -> str | None:
    """The layout of a file that begins so; None where it is JSON as a whole. Raises BadDataset."""
    begin = start.lstrip()
    if begin.startswith("{") and jsonl.is_lines(begin, whole=path.stat().st_size <= HEAD_BYTES):
        return "jsonl"
    if _JSON_BEGINS.match(begin):
        return None
    if sbu.is_half(path):
        return "sbu"
    first = begin.partition("\n")[0].rstrip()
    if flickr.is_line(first):
        return "flickr"
    if sbu.is_address(first):
        raise BadDataset(path, "", f"addresses without texts; {sbu.FORM}")
    if (found := table.layout_of(start)) is None:
        raise BadDataset(path, "", _TEXT_LOOKED_FOR if begin else "empty")
    return found


def _json_layout(path: Path, value: Any) -> str:
    match value:
        case {"images": [{"sentences": _} | {"sentids": _} | {"imgid": _}, *_]}:
            return "karpathy"
        case {"images": _} | {"annotations": [{"caption": _}, *_]}:
            return "coco"
        case [{"regions": _}, *_]:
            return "visual-genome"
        case [] | [{"image": _} | {"caption": _}, *_]:
            return "blip"
    raise BadDataset(path, "", _JSON_LOOKED_FOR)


# --- the whole


def _of_split(path: Path, entries: list[Entry], split: str | None) -> list[Entry]:
    if split is None:
        return entries
    sizes = Counter(entry.split for entry in entries if entry.split is not None)
    if not sizes:
        raise BadDataset(path, "", f"no picture is in the split {quoted(split)}: this dataset has no splits")
    if split not in sizes:
        there = listed([f"{quoted(name)} ({n})" for name, n in sizes.items()])
        raise BadDataset(path, "", f"no picture is in the split {quoted(split)}; there are {there}")
    return [entry for entry in entries if entry.split == split]


def _distinct(path: Path, examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, if no two of them are of one picture."""
    places: dict[Path, str] = {}
    for example in examples:
        first = places.setdefault(example.picture, example.place)
        if first != example.place:
            raise BadDataset(path, example.place, f"its picture {quoted(example.name)} is that of {first} too")
    return tuple(examples)
