"""What lies in the folder of a training: one run at a time, the best model, replaced as a whole, and the report."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval.errors import TrainingBusy, TrainingNotWritten

VALIDATION = "validation"
"""A folder for whatever measures a model; it goes when the run ends."""


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Make the folder, tidy it, and keep other runs of this host out; raises TrainingBusy where one is under way."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "losses.jsonl").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingBusy(folder) from None
        tidy(folder)
        try:
            yield
        finally:
            shutil.rmtree(folder / VALIDATION, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove what a killed run left half done."""
    for left in (*folder.glob("epoch-*"), *folder.glob("*.tmp"), folder / VALIDATION):
        remove(left)
    model, old = folder / "model", folder / "model.old"
    if old.exists() and not model.exists():
        os.replace(old, model)
    remove(old)


def put_in_place(new: Path, place: Path) -> None:
    """Put a folder of files, durably, in the place of another; `tidy` mends a kill between the two moves."""
    for file in new.iterdir():
        sync(file)
    old = place.with_name(f"{place.name}.old")
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    sync(place.parent)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write report.json whole or not at all."""
    written = folder / "report.json.tmp"
    try:
        written.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8", newline="\n")
        os.replace(written, folder / "report.json")
    except OSError as error:
        written.unlink(missing_ok=True)
        raise TrainingNotWritten(folder / "report.json", error) from error
