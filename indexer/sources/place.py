"""Where a source lies and what was said of how it is read, and how both are written down as one text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from indexer.sources.layouts import Reading
from indexer.uri import from_uri, to_uri

AS_IT_IS = Reading()
"""A source of which nothing was said."""

_ESCAPED = {"?": "%3F", "#": "%23", "&": "%26", "=": "%3D"}


@dataclass(frozen=True)
class Place:
    """Where a source lies, an absolute path without links, and what was said of how it is read."""

    path: Path
    reading: Reading = AS_IT_IS


def to_source(place: Place) -> str:
    """Write a place down as a source: the path's uri, and behind a question mark what was said of its reading."""
    reading = place.reading
    said = {"layout": reading.layout, "split": reading.split, "image_column": reading.image_column}
    parts = [(name, _escaped(value)) for name, value in said.items() if value is not None]
    parts += [("text_column", _escaped(value)) for value in reading.text_columns]
    if reading.images is not None:
        parts.append(("images", _marked(to_uri(reading.images))))
    path = to_uri(place.path)
    if not parts and from_source(path) == place:
        return path
    return _marked(path) + "".join(f"{'&' if i else '?'}{name}={value}" for i, (name, value) in enumerate(parts))


def from_source(source: str) -> Place:
    """Give the place that `to_source` wrote."""
    path, mark, query = source.partition("?")
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    known = ("layout", "split", "image_column", "text_column", "images")
    if not mark or any(name not in known for name, _ in pairs):
        return Place(from_uri(source))  # a question mark in the name of a folder
    said = {name: unquote(value) for name, value in pairs}
    images = next((value for name, value in pairs if name == "images"), None)
    reading = Reading(
        layout=said.get("layout"),
        images=None if images is None else Path(os.fsdecode(unquote_to_bytes(images))),
        split=said.get("split"),
        image_column=said.get("image_column"),
        text_columns=tuple(unquote(value) for name, value in pairs if name == "text_column"),
    )
    return Place(from_uri(path), reading)


def _escaped(value: str) -> str:
    return _marked(to_uri("/" + value)[1:])


def _marked(text: str) -> str:
    """Escape the marks that divide a source."""
    return "".join(_ESCAPED.get(letter, letter) for letter in text)
