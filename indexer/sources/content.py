"""The content of a dataset's file: its beginning, its lines, or the JSON that it is. UTF-8, with or without a mark."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexer.errors import BadDataset

HEAD_BYTES = 1 << 16


def head(path: Path) -> str:
    """Give the first 64 KiB of a file, less a letter that is cut in two; raises BadDataset."""
    try:
        with path.open("rb") as file:
            start = file.read(HEAD_BYTES)
        return getincrementaldecoder("utf-8-sig")().decode(start, final=len(start) < HEAD_BYTES)
    except UnicodeDecodeError as error:
        raise BadDataset(path, f"line {_lines_before(error) + 1}", "not UTF-8") from None
    except OSError as error:
        raise _unreadable(path, error) from error


def lines(path: Path) -> Iterator[str]:
    """Give the lines of a file with their ends; a line ends in a line feed only. Raises BadDataset."""
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise BadDataset(path, f"line {number}", "not UTF-8") from None
    except OSError as error:
        raise _unreadable(path, error) from error


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines that hold anything with their numbers from 1, without their ends."""
    for number, line in enumerate(lines(path), start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def parsed(path: Path) -> Any:
    """Give the JSON value that a file is; raises BadDataset. What JSON has no numbers for (NaN, Infinity) is null."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_nothing)
    except UnicodeDecodeError as error:
        raise BadDataset(path, f"line {_lines_before(error) + 1}", "not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadDataset(path, f"line {error.lineno}, column {error.colno}", f"not JSON ({error.msg})") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        raise BadDataset(path, "", "not JSON that can be read (a number too long, or too many levels)") from None
    except OSError as error:
        raise _unreadable(path, error) from error


def parsed_line(line: str) -> Any:
    """Give the JSON value that a line is; raises ValueError. NaN and Infinity are null here too."""
    try:
        return json.loads(line, parse_constant=_nothing)
    except RecursionError:
        raise ValueError("too many levels") from None


def _nothing(constant: str) -> None:
    return None


def _lines_before(error: UnicodeDecodeError) -> int:
    return error.object[: error.start].count(b"\n")


def _unreadable(path: Path, error: OSError) -> BadDataset:
    return BadDataset(path, "", f"it cannot be read ({(error.strerror or str(error)).lower()})")
