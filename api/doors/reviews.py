"""Tables for a review: claims about pictures as CSV or JSONL, and back with what a person decided."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from api.errors import UsageError
from api.paths import expanded
from api.results import BELIEVED, DOUBTED, REJECTED, ReviewRow
from indexer.uri import to_uri
from storage.files import write_durably
from storage.galleries import Gallery

COLUMNS = ("item", "file", "text", "kind", "match_probability", "keep")
KEEP: Mapping[str, bool | None] = {"": None, "yes": True, "no": False}
"""What the column `keep` may say; nothing leaves the decision to the threshold."""
KINDS = (BELIEVED, REJECTED, DOUBTED)
ID_DIGITS = 18
"""So many digits always fit into the 64 bits of a database."""


@dataclass(frozen=True)
class Decision:
    """What a person said of a text about a picture: keep it, drop it, or None for no word."""

    item: int
    text: str
    is_given: bool
    keep: bool | None


def check_review_path(path: Path | str) -> Path:
    """Give the path of a table that can be written, or raise UsageError."""
    place = expanded(path)
    if place.suffix.lower() not in {".csv", ".jsonl"}:
        raise UsageError("out", f"{place} is no table: name a file that ends in .csv or .jsonl")
    if not place.parent.is_dir():
        raise UsageError("out", f"{place} cannot be written: there is no folder {place.parent}")
    if place.is_dir():
        raise UsageError("out", f"{place} cannot be written: it is a folder")
    return place


def check_apart(path: Path, gallery: Gallery) -> None:
    """Raise UsageError for a table among the pictures, where the next index run would take it for one."""
    place = to_uri(path.resolve())
    for source in gallery.sources:
        if place.startswith(f"{source}/"):
            raise UsageError("out", f"{path} lies among the pictures of {gallery.name}; choose another place")


def save_review(rows: Sequence[ReviewRow], path: Path) -> None:
    """Write rows as CSV or JSONL, by the name of the file; UsageError where it cannot be."""

    def write(place: Path) -> None:
        # Strict UTF-8 cannot fail: file names in uris are escaped, and captions are decoded from a vocabulary.
        with place.open("w", encoding="utf-8", newline="") as file:
            (_write_csv if path.suffix.lower() == ".csv" else _write_jsonl)(rows, file)

    try:
        write_durably(path, write)
    except OSError as error:
        raise UsageError("out", f"{path} cannot be written: {error.strerror or error}") from error


def open_review(path: Path | str) -> list[Decision]:
    """Read the decisions of a reviewed table; UsageError names the first line that is wrong."""
    place = expanded(path)
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            records = _read_csv(file) if place.suffix.lower() == ".csv" else _read_jsonl(file)
            return [_decision(place, line, record) for line, record in records]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError("apply", f"{place} cannot be read as a table of UTF-8 text: {error}") from error


def as_record(row: ReviewRow) -> dict[str, Any]:
    """Give a row the names that its columns have."""
    return {
        "item": row.item,
        "file": row.file,
        "text": row.text,
        "kind": row.kind,
        "match_probability": round(row.match_probability, 6),
        "keep": next(word for word, decision in KEEP.items() if decision is row.keep),
    }


def _write_csv(rows: Sequence[ReviewRow], file: TextIO) -> None:
    # The default line end, for what it is made of gets quotes in a text: a lone carriage return would else end a row.
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(as_record(row) for row in rows)


def _write_jsonl(rows: Sequence[ReviewRow], file: TextIO) -> None:
    file.writelines(json.dumps(as_record(row), ensure_ascii=False) + "\n" for row in rows)


def _read_csv(file: TextIO) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(file)
    for record in reader:
        yield reader.line_num, record


def _read_jsonl(file: TextIO) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _decision(path: Path, line: int, record: object) -> Decision:
    wrong = f"{path}, line {line}: "
    if not isinstance(record, dict) or not {"item", "text", "kind", "keep"} <= set(record):
        raise UsageError("apply", f"{wrong}no row of a review; it has the columns {', '.join(COLUMNS)}")
    keep, kind, item = _word(record["keep"]), record["kind"], _word(record["item"])
    if keep not in KEEP:
        raise UsageError("apply", f"{wrong}keep is {keep[:40]!r}; it is yes, no or empty")
    if kind not in KINDS or not isinstance(record["text"], str) or not _is_id(item):
        raise UsageError("apply", f"{wrong}item is a number, text a text, and kind one of {', '.join(KINDS)}")
    return Decision(int(item), record["text"], kind == DOUBTED, KEEP[keep])


def _word(value: object) -> str:
    """What a cell says: a JSON line may hold numbers too, and what is neither is named by its type."""
    if value is None:
        return ""
    return str(value).strip().lower() if isinstance(value, (str, int)) else type(value).__name__


def _is_id(item: str) -> bool:
    """Whether a text is a number that a database can hold."""
    return item.isascii() and item.isdecimal() and len(item) <= ID_DIGITS
