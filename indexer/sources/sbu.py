"""SBU's captioned photographs: one file of addresses and one of texts, line for line (Ordonez et al. 2011)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from indexer.errors import BadDataset
from indexer.sources.content import head, lines
from indexer.sources.dataset import Text
from indexer.sources.entries import Entry, merged
from indexer.sources.fields import Fields, quoted

_ADDRESSES, _TEXTS = "_urls", "_captions"
FORM = f"SBU is two files, NAME{_ADDRESSES}.txt with an address per line and NAME{_TEXTS}.txt with a text per line"


def is_half(path: Path) -> bool:
    """Tell whether a file is one of two: addresses by their content, texts by the addresses beside them."""
    halves = _halves(path)
    return halves is not None and all(map(os.path.isfile, halves)) and is_address(_first_line(halves[0]))


def is_address(line: str) -> bool:
    """Tell whether a line is the address of something on the web, and nothing else."""
    return line.startswith(("http://", "https://")) and not any(sign.isspace() or sign == "," for sign in line)


def addresses(path: Path) -> Path:
    """Give the file of addresses of the pair that a file belongs to; raises BadDataset."""
    halves = _halves(path)
    if halves is None:
        raise BadDataset(path, "", f"its name has neither {_ADDRESSES} nor {_TEXTS}; {FORM}")
    for half in halves:
        if not os.path.isfile(half):
            raise BadDataset(path, "", f"{half.name} is not beside it; {FORM}")
    return halves[0]


def read(path: Path) -> list[Entry]:
    """Give the entries of the pair whose file of addresses is given; raises BadDataset.

    A picture's name is the last part of its address. An address that comes again adds its text to the first.
    """
    texts = path.with_name(path.name.replace(_ADDRESSES, _TEXTS))
    urls_lines, texts_lines = _lines(path), _lines(texts)
    if len(urls_lines) != len(texts_lines):
        reason = f"{len(urls_lines)} lines, but {texts.name} has {len(texts_lines)}; {FORM}"
        raise BadDataset(path, "", reason)
    return merged(path, _entries(path, texts, urls_lines, texts_lines))


def _entries(path: Path, texts: Path, urls_lines: list[str], texts_lines: list[str]) -> Iterator[Entry]:
    urls: dict[str, str] = {}
    for number, (url, text) in enumerate(zip(urls_lines, texts_lines, strict=True), start=1):
        place = f"line {number}"
        last = _last_part(url)
        if last is None:
            raise BadDataset(path, place, f"{quoted(url)} is no address; {FORM}")
        address = Fields(path, place, {"url": url, "name": last}, FORM)
        name = address.name("name")
        if urls.setdefault(name, url) != url:
            raise address.bad(f"a line before has {quoted(name)} from another address, {quoted(urls[name])}")
        said = Fields(texts, place, {"text": text}, FORM)
        yield Entry(place, name, (Text(place, said.text("text")),), None, {"url": url})


def _last_part(url: str) -> str | None:
    """The last part of an address; None for what is no address."""
    try:
        return urlsplit(url).path.rpartition("/")[2] if is_address(url) else None
    except ValueError:  # brackets with no IPv6 address between them
        return None


def _halves(path: Path) -> tuple[Path, Path] | None:
    """The file of addresses and that of texts, as the names have them; None where the name is neither's."""
    for half in (_ADDRESSES, _TEXTS):
        if half in path.name:
            return (
                path.with_name(path.name.replace(half, _ADDRESSES)),
                path.with_name(path.name.replace(half, _TEXTS)),
            )
    return None


def _first_line(path: Path) -> str:
    return head(path).lstrip().partition("\n")[0].strip()


def _lines(path: Path) -> list[str]:
    """All lines but empty ones at the end."""
    stripped = [line.strip() for line in lines(path)]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped
