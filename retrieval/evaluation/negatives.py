"""Hard negatives: two captions of a picture that differ in little, of which one is false.

Hsieh et al. 2023 (arXiv 2306.14610, SugarCrepe). Which of the two a model scores higher is right or wrong; where it
scores both alike it does not know, and that counts as wrong.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from retrieval.errors import BadRecords
from retrieval.evaluation.records import Record, quoted, read_json, read_lines, text, words

FORM = '{"0": {"filename": "name", "caption": "...", "negative_caption": "..."}, ...}'
LINE_FORM = '{"file": "name", "caption": "...", "negative_caption": "...", "type": "..."}'


@dataclass(frozen=True)
class Negative:
    """A picture's file name, a true caption and a false one, and what was changed.

    `source` is the file that says so, and `where` names its record.
    """

    source: Path
    where: str
    file: str
    caption: str
    negative: str
    kind: str


def read_negatives(path: Path) -> list[Negative]:
    """Read a file, or all .json and .jsonl files of a folder by name; raises BadRecords.

    A .json file has one object per pair and says by its name what was changed; a line of a .jsonl file says it itself.
    """
    if not os.path.isdir(path):  # unlike Path.is_dir, no error for a name that is too long
        return _read(path)
    try:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".json", ".jsonl"))
    except OSError as error:
        raise BadRecords(path, "", f"the folder cannot be read ({error.strerror or error})") from error
    if not files:
        raise BadRecords(path, "", "the folder holds no .json and no .jsonl file of hard negatives")
    return [one for file in files for one in _read(file)]


def _read(path: Path) -> list[Negative]:
    is_lines = path.suffix.lower() == ".jsonl"
    found = list(_of_lines(path) if is_lines else _of_object(path))
    if not found:
        raise BadRecords(path, "", f"it holds no pair of captions; {LINE_FORM if is_lines else FORM}")
    return found


def _of_object(path: Path) -> Iterator[Negative]:
    whole = read_json(path)
    if not isinstance(whole, dict):
        raise BadRecords(path, "", f"not an object; {FORM}")
    for key, record in whole.items():
        where = f"record {quoted(key)}"
        if not isinstance(record, dict):
            raise BadRecords(path, where, f"not an object; {FORM}")
        yield _negative(path, where, record, "filename", path.stem, FORM)


def _of_lines(path: Path) -> Iterator[Negative]:
    for where, record in read_lines(path):
        kind = text(path, where, record, "type", LINE_FORM) if "type" in record else path.stem
        yield _negative(path, where, record, "file", kind, LINE_FORM)


def _negative(path: Path, where: str, record: Record, file: str, kind: str, form: str) -> Negative:
    return Negative(
        source=path,
        where=where,
        file=text(path, where, record, file, form),
        caption=words(path, where, record, "caption", form),
        negative=words(path, where, record, "negative_caption", form),
        kind=kind,
    )


@dataclass(frozen=True)
class Compared:
    """What a model gave the true caption and the false one, and what was changed."""

    kind: str
    caption: float
    negative: float

    @property
    def is_right(self) -> bool:
        """Whether the true caption scores higher; equal scores are wrong."""
        return self.caption > self.negative


@dataclass(frozen=True)
class NegativeScores:
    """Accuracies in [0, 1]: by what was changed, the mean over these kinds, and over all pairs."""

    pairs: int
    by_type: dict[str, float]
    macro: float
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        """Write the scores as JSON keeps them."""
        return {"pairs": self.pairs, "by_type": self.by_type, "macro": self.macro, "accuracy": self.accuracy}


def summary(compared: Sequence[Compared]) -> NegativeScores:
    """Average over the pairs of each type, over the types, and over all pairs; without pairs all is zero."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for one in compared:
        kinds[one.kind].append(one.is_right)
    by_type = {kind: fmean(kinds[kind]) for kind in sorted(kinds)}
    return NegativeScores(
        len(compared),
        by_type,
        fmean(by_type.values()) if by_type else 0.0,
        fmean(one.is_right for one in compared) if compared else 0.0,
    )
