"""Features as a Parquet table: the only importer of Arrow, imported when a table is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from api.doors.embedding import Stream
from retrieval.features import Feature

GROUP_NUMBERS = 4 << 20
"""Numbers in a row group, 16 MB of them: what is held in memory, and what a reader has to hold."""


def write(stream: Stream, facts: Mapping[str, Any], file: BinaryIO) -> None:
    """Write the columns `uri`, `text` (those there are), `embedding` (the numbers in a row) and `shape`."""
    columns = {"image": ("uri",), "text": ("text",), "multimodal": ("uri", "text")}[stream.wanted.kind]
    names = [pa.field(name, pa.string(), nullable=False) for name in columns]
    numbers = pa.field("embedding", pa.list_(pa.float32()), nullable=False)
    shape = pa.field("shape", pa.list_(pa.int32()), nullable=False)
    schema = pa.schema([*names, numbers, shape], metadata={"sightline": json.dumps(facts)})
    # Numbers do not repeat: a dictionary of them would only be in the way.
    with ParquetWriter(file, schema, use_dictionary=False) as writer:
        group: list[Feature] = []
        held = 0
        for one in stream:
            group.append(one)
            held += one.embedding.size
            if held >= GROUP_NUMBERS:
                writer.write_table(_table(group, schema))
                group, held = [], 0
        if group:
            writer.write_table(_table(group, schema))


def _table(group: list[Feature], schema: Any) -> Any:
    """Make a table of some features; their numbers are copied once, into one column."""
    offsets = np.cumsum([0, *(one.embedding.size for one in group)]).astype(np.int32)
    numbers = np.concatenate([one.embedding.ravel() for one in group])
    made = {
        "uri": lambda: pa.array([one.uri for one in group], pa.string()),
        "text": lambda: pa.array([one.text for one in group], pa.string()),
        "embedding": lambda: pa.ListArray.from_arrays(offsets, pa.array(numbers)),
        "shape": lambda: pa.array([one.embedding.shape for one in group], pa.list_(pa.int32())),
    }
    return pa.table([made[name]() for name in schema.names], schema=schema)
