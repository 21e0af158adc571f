"""What a training tells: losses.jsonl, a line per step, and the same for TensorBoard where that is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from retrieval.errors import TrainingNotWritten


class Journal:
    """Writes losses and measures. What a killed run wrote after its last checkpoint is cut off before it goes on."""

    def __init__(self, folder: Path, *, size: int, step: int, tensorboard: bool) -> None:
        """Go on in `folder` after `size` bytes of losses.jsonl and `step` steps; `tensorboard` needs its package."""
        self._folder = folder
        self._file = (folder / "losses.jsonl").open("ab")
        self._file.truncate(min(size, self._file.tell()))
        self._file.seek(0, os.SEEK_END)
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write_step(self, step: int, line: Mapping[str, float]) -> None:
        """Write a step's line; a run that goes on after a kill writes the same bytes as one that was not killed."""
        with self._named("losses.jsonl"):
            self._file.write(f"{json.dumps(dict(line))}\n".encode())
            self._file.flush()
        self._plot({f"train/{name}": value for name, value in line.items() if name not in ("epoch", "step")}, step)

    def write_epoch(self, step: int, measures: Mapping[str, float]) -> None:
        """Plot what an evaluation measured after `step` steps."""
        self._plot({f"validation/{name}": value for name, value in measures.items()}, step)

    def sync(self) -> int:
        """Make the lines durable and give the size of the file in bytes."""
        with self._named("losses.jsonl"):
            os.fsync(self._file.fileno())
        return self._file.tell()

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Say of an error which file could not be written."""
        try:
            yield
        except OSError as error:
            raise TrainingNotWritten(self._folder / name, error) from error

    def _plot(self, values: Mapping[str, float], step: int) -> None:
        if self._board is not None:
            with self._named("tensorboard"):
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what could not be written was said when it was tried
            self._file.close()
        if self._board is not None:
            with suppress(OSError):
                self._board.close()


def has_tensorboard() -> bool:
    """Whether TensorBoard's package is installed; nothing of it is imported."""
    return importlib.util.find_spec("tensorboard") is not None
