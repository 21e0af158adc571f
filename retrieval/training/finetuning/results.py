"""What lies in the folder of a training: the best model, replaced as a whole, and the report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import TrainingNotWritten


def tidy(folder: Path) -> None:
    """Make the folder, and remove what a killed run left half done in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in (*folder.glob("epoch-*"), *folder.glob("*.tmp")):
        remove(left)
    model, old = folder / "model", folder / "model.old"
    if old.exists() and not model.exists():
        os.replace(old, model)
    remove(old)


def put_in_place(new: Path, place: Path) -> None:
    """Put a folder in the place of another; `tidy` mends a kill between the two moves."""
    old = place.with_name(f"{place.name}.old")
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write report.json whole or not at all."""
    written = folder / "report.json.tmp"
    try:
        written.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8", newline="\n")
        os.replace(written, folder / "report.json")
    except OSError as error:
        written.unlink(missing_ok=True)
        raise TrainingNotWritten(folder / "report.json", error) from error
