"""Features as files: npy, parquet and JSON, each written while the stream is read, so that memory stays bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from api.doors.embedding import Stream
from api.errors import UsageError
from api.paths import expanded
from api.results import Exported
from storage.files import write_durably

Format = Literal["npy", "parquet", "json"]
SUFFIXES: Mapping[str, Format] = {".npy": "npy", ".parquet": "parquet", ".json": "json"}

HEADER_BYTES = 128
"""What NumPy makes of our shapes: it aligns headers to 64 bytes and leaves space for a count that grows."""
NUMBER = np.dtype("<f4")


def check_path(path: Path | str) -> tuple[Path, Format]:
    """Give the path of a file that can be written, and its format; else raise UsageError."""
    place = expanded(path)
    form = SUFFIXES.get(place.suffix.lower())
    if form is None:
        raise UsageError("out", f"{place} names no format: let it end in {', '.join(SUFFIXES)}")
    if not place.parent.is_dir():
        raise UsageError("out", f"{place} cannot be written: there is no folder {place.parent}")
    if place.is_dir():
        raise UsageError("out", f"{place} cannot be written: it is a folder")
    return place, form


def save(stream: Stream, place: Path, form: Format) -> Exported:
    """Write features to a file, whole or not at all; what the rows of an array are is written beside it first."""

    def fill(temporary: Path) -> None:
        with temporary.open("w+b") as file:
            write(stream, form, file)
        if form == "npy":
            write_durably(names_path(place), lambda path: _write_names(stream, path))

    try:
        write_durably(place, fill)
    except OSError as error:
        raise UsageError("out", f"{place} cannot be written: {error.strerror or error}") from error
    return _exported(stream)


def names_path(place: Path) -> Path:
    """Name the file that says what the rows of an array are: x.npy.names.json lies beside x.npy."""
    return place.with_name(f"{place.name}.names.json")


def write(stream: Stream, form: Format, file: BinaryIO) -> Exported:
    """Write features into an open file; an array needs one that is empty and can be read."""
    match form:
        case "npy":
            _write_npy(stream, file)
        case "parquet":
            from api.doors import parquet

            parquet.write(stream, _facts(stream), file)
        case "json":
            _write_json(stream, file)
    return _exported(stream)


def _exported(stream: Stream) -> Exported:
    wanted = stream.wanted
    return Exported(stream.model, wanted.kind, wanted.projected, stream.shape, tuple(stream.failed))


def _write_npy(stream: Stream, file: BinaryIO) -> None:
    """Write one array, its header once the shape is known."""
    file.write(bytes(HEADER_BYTES))
    for one in stream:
        file.write(one.embedding.astype(NUMBER, copy=False).tobytes())
    if len(set(stream.lengths)) > 1:
        _spread(file, stream.lengths, stream.width * NUMBER.itemsize)
    header = BytesIO()
    facts = {"descr": NUMBER.str, "fortran_order": False, "shape": stream.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    assert header.tell() == HEADER_BYTES
    file.seek(0)
    file.write(header.getvalue())


def _spread(file: BinaryIO, lengths: list[int], row_bytes: int) -> None:
    """Fill every item up to the longest with rows of zeros, in place.

    The last item moves first and none moves to the front, so that nothing is written over before it was read.
    """
    longest, end = max(lengths), sum(lengths)
    for number, length in reversed([*enumerate(lengths)]):
        end -= length
        file.seek(HEADER_BYTES + end * row_bytes)
        vectors = file.read(length * row_bytes)
        file.seek(HEADER_BYTES + number * longest * row_bytes)
        file.write(vectors.ljust(longest * row_bytes, b"\0"))


def _write_json(stream: Stream, file: BinaryIO) -> None:
    """Write an object with an item on each line; the shape comes last, for it is known last."""
    file.write(f'{_line(_facts(stream))[:-1]}, "items": ['.encode())
    separator = "\n"
    for one in stream:
        names = {"uri": one.uri, "text": one.text}
        item = {name: value for name, value in names.items() if value is not None}
        file.write(f"{separator}{_line({**item, 'embedding': one.embedding.tolist()})}".encode())
        separator = ",\n"
    file.write(f'\n], "shape": {_line(open_shape(stream))}}}\n'.encode())


def open_shape(stream: Stream) -> list[int | None]:
    """Give the shape of what is not filled up: null where lengths differ."""
    shape: list[int | None] = [*stream.shape]
    if len(set(stream.lengths)) > 1:
        shape[1] = None
    return shape


def _facts(stream: Stream) -> dict[str, Any]:
    """Give what holds for all features the names that it has in every format."""
    wanted = stream.wanted
    facts = {"kind": wanted.kind, "projected": wanted.projected, "every_token": wanted.every_token}
    return {"model": stream.model, **facts}


def _write_names(stream: Stream, place: Path) -> None:
    """Say what the rows of an array are, in order; `vectors` of an item count, zeros follow."""
    items = [
        {name: value for name, value in (("uri", uri), ("text", text), ("vectors", length)) if value is not None}
        for uri, text, length in zip_longest(stream.uris, stream.texts, stream.lengths)
    ]
    named = {**_facts(stream), "items": items, "shape": stream.shape}
    place.write_text(json.dumps(named, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
