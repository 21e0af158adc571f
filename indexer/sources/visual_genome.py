"""Visual Genome's region descriptions: pictures by id, each with phrases for parts of it (Krishna et al. 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexer.errors import BadDataset
from indexer.sources.dataset import Text
from indexer.sources.entries import Entry
from indexer.sources.fields import Fields, fields, kind, quoted

_FILE = 'a file of regions reads [{"id": 1, "regions": [...]}, ...]'
_IMAGE = 'an entry reads {"id": 1, "regions": [...]}'
_REGION = 'a region reads {"region_id": 5, "image_id": 1, "phrase": "a text", "x": 0, "y": 0, "width": 9, "height": 9}'
_BOX = ("x", "y", "width", "height")


def read(path: Path, value: Any) -> list[Entry]:
    """Give the entries of a parsed file, in its order; raises BadDataset.

    The picture of image 7 is `7.jpg`. The metadata's "regions" are the boxes in pixels, in the order of the texts.
    """
    if not isinstance(value, list):
        raise BadDataset(path, "", f"{kind(value)}, not a list; {_FILE}")
    images: dict[str, str] = {}
    regions: dict[str, str] = {}
    return [_entry(fields(path, f"[{i}]", entry, _IMAGE), images, regions) for i, entry in enumerate(value)]


def _entry(image: Fields, images: dict[str, str], regions: dict[str, str]) -> Entry:
    image_id = image.once("id", images)
    listed = [
        fields(image.path, f"{image.place}.regions[{i}]", entry, _REGION)
        for i, entry in enumerate(image.entries("regions"))
    ]
    texts = tuple(_text(region, image_id, regions) for region in listed)
    boxes = [{side: region.number(side) for side in _BOX} for region in listed]
    name = image.checked_name("id", f"{image_id}.jpg")
    metadata = {"image_id": image_id, **image.metadata("id", "regions"), "regions": boxes}
    return Entry(image.place, name, texts, None, metadata)


def _text(region: Fields, image_id: int | str, regions: dict[str, str]) -> Text:
    if region.values.get("image_id", image_id) != image_id:
        raise region.bad(
            f'"image_id" {quoted(region.identifier("image_id"))} is not that of its image, {quoted(image_id)}'
        )
    return Text(f"region {region.once('region_id', regions)}", region.text("phrase"))
