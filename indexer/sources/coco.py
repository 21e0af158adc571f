"""COCO captions: an object with images and annotations, each annotation a text of one image (Lin et al. 2014).

nocaps and other sets in this layout are read likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexer.sources.dataset import Text
from indexer.sources.entries import Entry
from indexer.sources.fields import Fields, fields, quoted

_FILE = 'a file of captions reads {"images": [...], "annotations": [...]}'
_IMAGE = 'an image reads {"id": 1, "file_name": "a.jpg"}'
_ANNOTATION = 'an annotation reads {"id": 2, "image_id": 1, "caption": "a text"}'
_LICENCE = 'a licence reads {"id": 1, "name": "CC BY 4.0", "url": "https://..."}'

Id = int | str


def read(path: Path, value: Any) -> list[Entry]:
    """Give the entries of a parsed file, in the order of its images; raises BadDataset.

    Images without annotations are entries without texts.
    """
    file = fields(path, "", value, _FILE)
    licences = _licences(file)
    images = _images(file)
    texts = _texts(file, images)
    return [_entry(image, texts[id_], licences) for id_, image in images.items()]


def _images(file: Fields) -> dict[Id, Fields]:
    listed = [fields(file.path, f"images[{i}]", entry, _IMAGE) for i, entry in enumerate(file.entries("images"))]
    places: dict[str, str] = {}
    return {image.once("id", places): image for image in listed}


def _texts(file: Fields, images: Mapping[Id, Fields]) -> dict[Id, list[Text]]:
    texts: dict[Id, list[Text]] = {id_: [] for id_ in images}
    places: dict[str, str] = {}
    for i, entry in enumerate(file.entries("annotations")):
        annotation = fields(file.path, f"annotations[{i}]", entry, _ANNOTATION)
        text, image_id = annotation.text("caption"), annotation.identifier("image_id")
        if image_id not in texts:
            raise annotation.bad(f'"image_id" {quoted(image_id)} is the id of no image')
        texts[image_id].append(Text(f"annotation {annotation.once('id', places)}", text))
    return texts


def _entry(image: Fields, texts: list[Text], licences: Mapping[Id, Mapping[str, Any]]) -> Entry:
    name = image.name("file_name")
    told = image.metadata("id", "file_name")
    licence = told.get("license")
    if isinstance(licence, int | str) and licence in licences:
        del told["license"]
        told |= licences[licence]
    return Entry(image.place, name, tuple(texts), None, {"image_id": image.identifier("id"), **told})


def _licences(file: Fields) -> dict[Id, dict[str, Any]]:
    """What an image's metadata says of each licence that is listed, by id; some programs leave their names empty."""
    if "licenses" not in file.values:
        return {}
    listed = [fields(file.path, f"licenses[{i}]", entry, _LICENCE) for i, entry in enumerate(file.entries("licenses"))]
    return {licence.identifier("id"): _licence(licence) for licence in listed}


def _licence(licence: Fields) -> dict[str, Any]:
    told = licence.metadata()
    return {ours: told[theirs] for ours, theirs in (("licence", "name"), ("licence_url", "url")) if theirs in told}
