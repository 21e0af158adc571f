"""Tables with a header, cells parted by commas, semicolons or tabs: a row per text, or per picture with its texts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from indexer.errors import BadDataset
from indexer.sources.columns import entry_of, find_columns, form, has_usual_columns, lists_unpacked
from indexer.sources.content import head, lines
from indexer.sources.entries import Entry, merged
from indexer.sources.fields import Fields, quoted

_SIGNS = {"csv": (",", ";"), "tsv": ("\t",)}


def read(path: Path, layout: str, *, picture: str | None, texts: Sequence[str]) -> list[Entry]:
    """Give the entries of a table, rows of one picture put together; raises BadDataset.

    `layout` is `csv` or `tsv`; `picture` and `texts` name columns, and are found by their usual names otherwise.
    Quotes around a cell let it hold anything, line ends and doubled quotes included. A cell may be a list of texts in
    JSON. Other columns are metadata.
    """
    return merged(path, _entries(path, lines(path), _sign(head(path), layout), picture, texts))


def of_lines(path: Path, found: Sequence[str], *, picture: str | None, texts: Sequence[str]) -> Iterator[Entry]:
    """Give the entries of lines with their ends, row by row, whichever sign parts their cells; raises BadDataset."""
    start = next((line for line in found if line.strip()), "")
    return _entries(path, found, _sign(start, layout_of(start) or "csv"), picture, texts)


def layout_of(start: str) -> str | None:
    """Tell which of the two a file that begins so is; None where its first line has no two cells."""
    columns = {layout: _widest(start, layout) for layout in _SIGNS}
    understood = [layout for layout, names in columns.items() if has_usual_columns(names)]
    wide = sorted((layout for layout, names in columns.items() if len(names) > 1), key=lambda name: -len(columns[name]))
    return next(iter([*understood, *wide]), None)


def _widest(start: str, layout: str) -> list[str]:
    return max((_header(start, sign) for sign in _SIGNS[layout]), key=len)


def _sign(start: str, layout: str) -> str:
    return max(_SIGNS[layout], key=lambda sign: len(_header(start, sign)))


def _header(start: str, sign: str) -> list[str]:
    try:
        return next(csv.reader([start.lstrip().partition("\n")[0]], delimiter=sign), [])
    except csv.Error:
        return []


def _entries(path: Path, found: Iterable[str], sign: str, picture: str | None, texts: Sequence[str]) -> Iterator[Entry]:
    table = _cells(path, found, sign)
    place, header = next(table, ("", []))
    if not header:
        raise BadDataset(path, "", "empty; the first line names the columns")
    names = [name.strip() for name in header]
    for name in names:
        if name and names.count(name) > 1:
            raise BadDataset(path, place, f"two columns are called {quoted(name)}")
    columns = find_columns(path, place, names, picture=picture, texts=texts)
    reads = form(columns)
    for place, cells in table:
        if len(cells) != len(names):
            raise BadDataset(path, place, f"{_counted(len(cells))}, but the header has {len(names)}; {reads}")
        named = dict(zip(names, (cell.strip() for cell in cells), strict=True))
        yield entry_of(Fields(path, place, lists_unpacked(named, columns.texts), reads), columns)


def _cells(path: Path, found: Iterable[str], sign: str) -> Iterator[tuple[str, list[str]]]:
    """The rows that hold anything, each with the line that it begins in."""
    reader = csv.reader(found, delimiter=sign, strict=True)
    begin = 1
    try:
        for cells in reader:
            if len(cells) > 1 or any(cell.strip() for cell in cells):
                yield f"line {begin}", cells
            begin = reader.line_num + 1
    except csv.Error as error:
        reason = f"no row of cells ({error}); a cell with quotes in it stands in quotes, and doubles its own"
        raise BadDataset(path, f"line {begin}", reason) from None


def _counted(n: int) -> str:
    return "1 cell" if n == 1 else f"{n} cells"
