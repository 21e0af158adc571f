"""File names as text that databases, JSON and one line of a log can hold, and back again, byte for byte."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

# The escape sign itself, everything that could break a line (C0, DEL, C1, the two Unicode separators), and the
# surrogates that stand for bytes which are not UTF-8.
_ESCAPED = re.compile("[%\x00-\x1f\x7f-\x9f\u2028\u2029\udc80-\udcff]")


def to_uri(path: bytes | str | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """Write a path as absolute text, UTF-8 kept as it is and every other byte as `%XX`.

    A relative path gets the working folder in front. Nothing is normalised: composed and decomposed letters stay
    apart, as they are apart on disk.
    """
    raw = os.path.join(os.getcwdb(), os.fsencode(path))
    return _ESCAPED.sub(_percent, raw.decode("utf-8", "surrogateescape"))


def from_uri(uri: str) -> Path:
    """Give the path that `to_uri` wrote."""
    return Path(os.fsdecode(to_bytes(uri)))


def to_bytes(uri: str) -> bytes:
    """Give the path that `to_uri` wrote as the bytes that the operating system knows it by.

    For what is looked at very often: a Path of them costs ten times as much as looking at the file.
    """
    return unquote_to_bytes(uri) if "%" in uri else uri.encode("utf-8", "surrogateescape")


def shown(uri: str, source: str = "") -> str:
    """Give the name that a person reads: the part below the source, whatever is no UTF-8 replaced."""
    return unquote(uri.removeprefix(source).lstrip("/") if source else uri, errors="replace")


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))
