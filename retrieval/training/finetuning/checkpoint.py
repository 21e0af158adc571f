"""The state of a training on disk: two generations, each written whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from retrieval.errors import TrainingBroken, TrainingNotWritten
from retrieval.training.finetuning.results import sync

LAST, BEFORE = "checkpoint.pt", "checkpoint.before.pt"

State = dict[str, Any]


def save_state(state: State, folder: Path) -> None:
    """Write a state beside its place, sync it and move it there; the one before stays as the second generation.

    On a full disk TrainingNotWritten is raised, and the last good state stays where it is.
    """
    written = folder / f"{LAST}.tmp"
    try:
        with written.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if (folder / LAST).exists():
            os.replace(folder / LAST, folder / BEFORE)
        os.replace(written, folder / LAST)
        sync(folder)
    except (OSError, RuntimeError) as error:  # torch turns the system's errors into its own
        written.unlink(missing_ok=True)
        raise TrainingNotWritten(folder / LAST, error) from error


def read_state(folder: Path) -> tuple[State | None, str | None]:
    """Read the newest whole state, on the CPU, and say what was wrong with a newer one; None where there is none yet.

    Raises TrainingBroken where files are there and none is whole.
    """
    reasons: list[str] = []
    for name in (LAST, BEFORE):
        path = folder / name
        if path.exists():
            try:
                return _read(path), reasons[0] if reasons else None
            except Exception as error:  # a damaged file raises whatever its damage makes it do
                reasons.append(f"{path} cannot be read ({type(error).__name__})")
    if reasons:
        raise TrainingBroken(folder, "; ".join(reasons))
    return None, None


def _read(path: Path) -> State:
    # torch does not compare checksums when it reads; zipfile does.
    with zipfile.ZipFile(path) as file:
        damaged = file.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state
