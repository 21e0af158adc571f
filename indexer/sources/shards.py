"""Datasets that are archives: webdataset's tars, zips, and parquet files of pictures, one or a folder full."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from indexer.archives import is_archive
from indexer.errors import BadDataset, SourceMissing
from indexer.sources import packed
from indexer.sources.dataset import Dataset, Example
from indexer.sources.fields import quoted
from indexer.sources.shard import Shard

BESIDE = frozenset({"", ".json", ".txt", ".md"})
"""What may lie beside shards: counts, lists, licences."""

_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
_KINDS = {".zip": "zip", ".parquet": "parquet"}


def is_shards(path: Path) -> bool:
    """Say whether a path is an archive by its name, or a folder of archives without pictures or folders beside them."""
    if not os.path.isdir(path):  # unlike Path.is_dir, no error for a name that is too long
        return is_archive(path) and os.path.isfile(path)
    entries = _visible(path)
    archives = [entry for entry in entries if is_archive(entry)]
    others = (entry for entry in entries if not is_archive(entry))
    only_shards = bool(archives) and all(entry.suffix.lower() in BESIDE for entry in others)
    return only_shards and all(map(os.path.isfile, entries))


def read(
    path: Path, *, split: str | None = None, image_column: str | None = None, text_columns: Sequence[str] = ()
) -> Dataset:
    """Read an archive, or a folder of archives of one kind; raises BadDataset and SourceMissing.

    Names of samples, places and keys begin with the shard's name where there are several. The columns are a parquet
    file's or a list's; in samples that are made of members they are the members' endings and the keys of their JSON.
    A split is what a sample says of itself, or the word for one in its shard's name.
    """
    shards = [Shard(one, f"{one.name}/" if os.path.isdir(path) else "") for one in _shards(path)]
    layout = _layout(path, shards)
    reader = _reader(layout)
    examples = tuple(
        chain.from_iterable(
            [_with_split(example, shard) for example in reader(shard, image_column, tuple(text_columns))]
            for shard in shards
        )
    )
    return Dataset(path, layout, examples if split is None else _of_split(path, examples, split))


def _reader(layout: str) -> Callable[[Shard, str | None, tuple[str, ...]], list[Example]]:
    match layout:
        case "img2dataset parquet":
            from indexer.sources import parquet  # takes a while, and few need it

            return parquet.read
        case "zip":
            return packed.read_zip
        case _:
            return packed.read_tar


def _layout(path: Path, shards: Sequence[Shard]) -> str:
    layouts = sorted({_kind(shard.path) for shard in shards})
    if len(layouts) > 1:
        reason = f"archives of different kinds: {' and '.join(layouts)}; name one of them, or give each kind a folder"
        raise BadDataset(path, "", reason)
    return {"tar": "webdataset", "parquet": "img2dataset parquet"}.get(layouts[0], layouts[0])


def _kind(path: Path) -> str:
    return _KINDS.get(path.suffix.lower(), "tar")


def _shards(path: Path) -> list[Path]:
    if os.path.isdir(path):
        found = [entry for entry in _visible(path) if is_archive(entry)]
        # img2dataset writes a table of addresses and sizes beside each tar, which holds no pictures.
        tars = [entry for entry in found if _kind(entry) == "tar"]
        found = [entry for entry in found if not (tars and _kind(entry) == "parquet")]
    else:
        found = [path] if is_archive(path) else []
        if not os.path.isfile(path):
            raise SourceMissing(path)
    if not found:
        raise BadDataset(path, "", "it holds no archives of pictures (.tar, .tgz, .zip, .parquet)")
    return found


def _visible(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


# --- splits


def _with_split(example: Example, shard: Shard) -> Example:
    if example.split is not None:
        return example
    words = re.split(r"[-_.]", shard.path.name.lower())
    split = next((word for word in words if word in _SPLITS), None)
    return Example(example.place, example.name, example.picture, example.texts, split, example.metadata)


def _of_split(path: Path, examples: Sequence[Example], split: str) -> tuple[Example, ...]:
    found = tuple(example for example in examples if example.split == split)
    if not found:
        splits = dict.fromkeys(example.split for example in examples if example.split is not None)
        there = f"there are {', '.join(quoted(one) for one in splits)}" if splits else "nothing in it names a split"
        raise BadDataset(path, "", f"no picture is of the split {quoted(split)}; {there}")
    return found
