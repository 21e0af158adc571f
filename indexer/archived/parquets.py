"""Parquet files with columns of picture bytes: rows by key, read a few at a time and never the file as a whole."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import PurePosixPath
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache
from numpy.typing import NDArray
from pyarrow import parquet

from indexer.archived.members import MEMBER_LIMIT, Member, too_large
from indexer.errors import DecodeFailed
from indexer.files import unreadable

BYTES = "bytes"
"""The field of a picture's bytes where a column is of objects: {"bytes", "path"}."""

KEY_NAMES = ("__key__", "key", "id", "image_id", "path", "file_name", "filename")
"""Columns that may name rows, in the order in which they are tried."""

ROWS = 32
"""Rows that are read together."""

KEPT_BYTES = 256 << 20
"""Bytes of pictures that are kept of all files, for those who read neighbouring rows, and the same row again."""

WEIGHT = 1 << 14
"""What an open file weighs at least among the archives that are remembered: each holds a descriptor."""

_BUFFER = 1 << 20
_DAMAGED = "damaged: no parquet file, or one that ends early"


class ParquetIndex:
    """What a parquet file holds: the member `jpg/000012` is the picture in column `jpg` of the row with key 000012.

    A row has no place in the file, only its group has. So rows are read on from where the last reader stood, and from
    the beginning of their group where he stood behind them; in order that is one pass, however large the groups are.
    """

    def __init__(self, file: BinaryIO) -> None:
        own = os.fdopen(os.dup(file.fileno()), "rb")
        weakref.finalize(self, own.close)
        try:
            self._file = parquet.ParquetFile(own, pre_buffer=False, buffer_size=_BUFFER)
            self.columns = picture_columns(self._file.schema_arrow)
            self._keys = row_keys(self._file)
            groups = range(self._file.num_row_groups)
            self._ends = np.cumsum([self._file.metadata.row_group(i).num_rows for i in groups], dtype=np.int64)
        except Exception as error:  # damaged files make pyarrow raise nearly everything
            raise damage(error) from error
        self._rows = {key: row for row, key in enumerate(self._keys)}
        self._sizes: dict[str, NDArray[np.int64]] = {}
        self._lock = Lock()
        self._cursor: _Cursor | None = None
        self._number = next(_numbers)
        self.weight = max(WEIGHT, len(self._keys))

    def members(self) -> list[Member]:
        """List the pictures column by column; rows without one are left out."""
        return [
            Member(f"{column}/{key}", int(size))
            for column in self.columns
            for key, size in zip(self._keys, self._sizes_of(column), strict=True)
            if size >= 0
        ]

    def size(self, name: str) -> int:
        """Give the bytes that a picture has; KeyError where there is none. The first call reads the column."""
        column, row = self._place(name)
        size = int(self._sizes_of(column)[row])
        if size < 0:
            raise KeyError(name)
        return size

    def read(self, file: int, name: str) -> bytes:
        """Read a picture; KeyError, or DecodeFailed with a reason."""
        column, row = self._place(name)
        group = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[group - 1]) if group else 0
        block, within = divmod(row - start, ROWS)
        try:
            content = self._block(column, group, block)[within]
        except Exception as error:
            raise damage(error) from error
        if content is None:
            raise KeyError(name)
        if len(content) > MEMBER_LIMIT:
            raise too_large(len(content))
        return content

    def chunks(self, file: int, name: str) -> Iterator[bytes]:
        """Read a picture, which the format gives as a whole only."""
        yield self.read(file, name)

    def _place(self, name: str) -> tuple[str, int]:
        column, _, key = name.partition("/")
        if column not in self.columns:
            raise KeyError(name)
        return column, self._rows[key]

    def _block(self, column: str, group: int, block: int) -> list[bytes | None]:
        place = (column, group, block)
        with self._lock:
            with _guard:
                kept = _kept.get((self._number, place))
            if kept is not None:
                return kept
            cursor = self._cursor
            if cursor is None or cursor.place > place or cursor.place[:2] != place[:2]:
                cursor = self._cursor = _Cursor(self._file, column, group)
            rows = cursor.block(block)
            with _guard:
                _kept[self._number, place] = rows
            return rows

    def _sizes_of(self, column: str) -> NDArray[np.int64]:
        with self._lock:
            if column not in self._sizes:
                try:
                    parts = [_sizes(values) for values in picture_values(self._file, column)]
                except Exception as error:
                    raise damage(error) from error
                sizes = np.concatenate([*parts, np.empty(0, np.int64)])
                if len(sizes) != len(self._keys):
                    raise DecodeFailed(_DAMAGED)
                self._sizes[column] = sizes
            return self._sizes[column]


class _Cursor:
    """A reader of one group of rows who stands before the block `place[2]`."""

    def __init__(self, file: Any, column: str, group: int) -> None:
        self.place = (column, group, 0)
        self._rows = (value for values in picture_values(file, column, [group]) for value in values)

    def block(self, number: int) -> list[bytes | None]:
        """Read a block that is not passed yet."""
        for _ in islice(self._rows, (number - self.place[2]) * ROWS):
            pass
        self.place = (*self.place[:2], number + 1)
        return [value.as_py() for value in islice(self._rows, ROWS)]


def picture_columns(schema: Any) -> tuple[str, ...]:
    """Name the columns that hold bytes, or objects with bytes, and can be part of a path."""
    return tuple(field.name for field in schema if _holds_bytes(field.type) and _is_name(field.name))


def row_keys(file: Any) -> list[str]:
    """Name the rows: by the first usual column that has a name of its own for each, else by their numbers from 0."""
    schema = file.schema_arrow
    paths = [f"{column}.path" for column in picture_columns(schema) if _has_field(schema.field(column).type, "path")]
    for name in [*(name for name in KEY_NAMES if name in schema.names), *paths]:
        column, *field = name.split(".") if name in paths else [name]
        values = file.read(columns=[name], use_threads=False).column(column)
        if field:
            values = pc.struct_field(values, field)
        if not (pa.types.is_integer(values.type) or _is_text(values.type)):
            continue
        keys = [str(key) for key in values.to_pylist()]
        if values.null_count == 0 and len(set(keys)) == len(keys) and all(map(_is_path, keys)):
            return keys
    return [str(row) for row in range(file.metadata.num_rows)]


def damage(error: Exception) -> DecodeFailed:
    """Word what is wrong with a parquet file."""
    if isinstance(error, OSError) and error.errno is not None:
        return DecodeFailed(unreadable(error))
    return DecodeFailed("too large: does not fit into memory" if isinstance(error, MemoryError) else _DAMAGED)


def picture_values(file: Any, column: str, groups: Sequence[int] | None = None) -> Iterator[Any]:
    """Give a column's bytes, some rows at a time."""
    is_object = pa.types.is_struct(file.schema_arrow.field(column).type)
    name = f"{column}.{BYTES}" if is_object else column
    for batch in file.iter_batches(batch_size=ROWS, row_groups=groups, columns=[name], use_threads=False):
        values = batch.column(0)
        yield pc.struct_field(values, [BYTES]) if is_object else values


def _sizes(values: Any) -> NDArray[np.int64]:
    """Give the sizes of some rows, -1 where there is no picture."""
    sizes: NDArray[np.int64] = pc.fill_null(pc.binary_length(values).cast(pa.int64()), -1).to_numpy(
        zero_copy_only=False
    )
    return sizes


def _room(rows: list[bytes | None]) -> int:
    return min(KEPT_BYTES, sum(len(row or b"") for row in rows) + ROWS)


_numbers = count()
"""Tell indices apart in what is kept, also of one file that was written anew."""
_kept: LRUCache[tuple[int, tuple[str, int, int]], list[bytes | None]] = LRUCache(KEPT_BYTES, getsizeof=_room)
_guard = Lock()


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return _has_field(kind, BYTES) and _is_binary(kind.field(BYTES).type)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _has_field(kind: Any, name: str) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index(name) >= 0)


def _is_name(column: str) -> bool:
    return "." not in column and "/" not in column and _is_path(column)


def _is_path(key: str) -> bool:
    """Whether a key is a path below the file as it stands."""
    path = PurePosixPath(key)
    return str(path) == key and not path.is_absolute() and ".." not in path.parts and key != "." and "\0" not in key
