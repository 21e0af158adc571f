"""Parquet files with the pictures inside, as img2dataset and Hugging Face write them: a row is a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from indexer.archived.parquets import damage, picture_columns, picture_values, row_keys
from indexer.errors import BadDataset
from indexer.sources.dataset import Example, Text
from indexer.sources.fields import Fields, quoted
from indexer.sources.shard import Shard, shown, strings, texts_of

PICTURE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "image_bytes", "img_bytes")
TEXT_NAMES = ("caption", "captions", "text", "texts", "txt", "sentence", "sentences", "description", "title", "raw")
ADDRESS_NAMES = ("url", "image_url", "urls", "img_url", "link")
LONGEST_LIST = 64
"""Entries of a list that is metadata; longer ones are vectors."""

_ROWS = 1024
_SPLIT = "split"


def read(shard: Shard, image: str | None, texts: tuple[str, ...]) -> list[Example]:
    """Read the rows of a parquet file but not their pictures; raises BadDataset.

    A row without a picture, as img2dataset leaves for an address that gave none, is an example whose one is missing.
    """
    try:
        with parquet.ParquetFile(shard.path) as file:
            return _read(shard, file, image, texts)
    except BadDataset:
        raise
    except Exception as error:  # damaged files make pyarrow raise nearly everything
        raise BadDataset(shard.path, "", damage(error).reason) from error


def _read(shard: Shard, file: Any, image: str | None, wanted: tuple[str, ...]) -> list[Example]:
    schema = file.schema_arrow
    column = _picture_column(shard.path, schema, image)
    texts = _text_columns(shard.path, schema.names, wanted)
    if not _has_pictures(file, column):
        raise BadDataset(shard.path, "", f"no row has a picture in the column {quoted(column)}")
    others = [field.name for field in schema if field.name not in picture_columns(schema) and _is_kept(field.type)]
    keys = row_keys(file)
    return [
        _example(shard, column, texts, key, row)
        for key, row in zip(keys, _rows(file, dict.fromkeys([*texts, *others])), strict=True)
    ]


def _example(shard: Shard, column: str, texts: Sequence[str], key: str, row: dict[str, Any]) -> Example:
    place = f"sample {shown(key)}"
    name = f"{column}/{key}"
    record = Fields(shard.path, place, {name: _plain(value) for name, value in row.items()}, "a row is a picture")
    said = tuple(text for each in texts for text in _texts(shard, place, key, each, row, several=len(texts) > 1))
    return Example(
        shard.place(place),
        shard.named(key),
        shard.path / name,
        said,
        record.split(_SPLIT) if isinstance(row.get(_SPLIT), str) else None,
        record.metadata(_SPLIT, *texts),
    )


def _texts(shard: Shard, place: str, key: str, column: str, row: dict[str, Any], *, several: bool) -> tuple[Text, ...]:
    return texts_of(shard, place, f"{key} {column}" if several else key, strings(shard, place, column, row[column]))


def _rows(file: Any, columns: dict[str, None]) -> Iterator[dict[str, Any]]:
    if not columns:
        yield from ({} for _ in range(file.metadata.num_rows))
        return
    for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns), use_threads=False):
        yield from batch.to_pylist()


# --- columns


def _picture_column(path: Path, schema: Any, wanted: str | None) -> str:
    """Find the column of picture bytes: the named one, one of a usual name, or the only one of {"bytes", "path"}."""
    columns = picture_columns(schema)
    if wanted is not None:
        _check_there(path, schema.names, wanted)
        if wanted not in columns:
            reason = f"the column {quoted(wanted)} is of {schema.field(wanted).type}, not of picture bytes"
            raise BadDataset(path, "", reason)
        return wanted
    usual = [column for name in PICTURE_NAMES for column in columns if column.lower() == name]
    objects = [column for column in columns if pa.types.is_struct(schema.field(column).type)]
    if usual or len(objects) == 1:
        return [*usual, *objects][0]
    address = next((name for name in schema.names if name.lower() in ADDRESS_NAMES), None)
    if not columns and address is not None:
        reason = (
            f"it holds addresses of pictures (column {quoted(address)}) and no pictures; download them first, "
            "for example with img2dataset, and index what it writes"
        )
        raise BadDataset(path, "", reason)
    reason = f"no column is known to hold pictures; {_told(schema.names)}; name one of bytes with --image-column"
    raise BadDataset(path, "", reason)


def _text_columns(path: Path, names: Sequence[str], wanted: tuple[str, ...]) -> tuple[str, ...]:
    for name in wanted:
        _check_there(path, names, name)
    usual = tuple(column for name in TEXT_NAMES for column in names if column.lower() == name)
    return wanted or usual[:1]


def _check_there(path: Path, names: Sequence[str], wanted: str) -> None:
    if wanted not in names:
        raise BadDataset(path, "", f"no column is called {quoted(wanted)}; {_told(names)}")


def _told(names: Sequence[str]) -> str:
    return f"its columns are {', '.join(quoted(name) for name in names)}"


def _has_pictures(file: Any, column: str) -> bool:
    """Whether any row of a column holds bytes; reads up to the first that does."""
    return any(values.null_count < len(values) for values in picture_values(file, column))


def _is_kept(kind: Any) -> bool:
    """Whether a column's values are such as metadata has."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_kept(kind.value_type) and not pa.types.is_nested(kind.value_type)
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _plain(value: Any) -> Any:
    match value:
        case date():
            return value.isoformat()
        case list() if len(value) > LONGEST_LIST:
            return None
    return value
