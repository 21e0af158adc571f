"""Karpathy's splits of COCO, Flickr30k and Flickr8k: images with their sentences (Karpathy and Fei-Fei 2015)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexer.sources.dataset import Text
from indexer.sources.entries import Entry
from indexer.sources.fields import Fields, fields, quoted

_FILE = 'a file of splits reads {"images": [...]}'
_IMAGE = 'an image reads {"imgid": 0, "filename": "a.jpg", "split": "test", "sentences": [...]}'
_SENTENCE = 'a sentence reads {"sentid": 0, "imgid": 0, "raw": "a text"}'


def read(path: Path, value: Any) -> list[Entry]:
    """Give the entries of a parsed file, in its order; raises BadDataset.

    The name is the file's own with the folder "filepath" before it, which Flickr's files have not. The metadata's
    "image_id" is COCO's where there is one, else the number within the file.
    """
    file = fields(path, "", value, _FILE)
    images: dict[str, str] = {}
    sentences: dict[str, str] = {}
    return [
        _entry(fields(path, f"images[{i}]", entry, _IMAGE), images, sentences)
        for i, entry in enumerate(file.entries("images"))
    ]


def _entry(image: Fields, images: dict[str, str], sentences: dict[str, str]) -> Entry:
    imgid = image.once("imgid", images)
    name = image.name("filename")
    if image.values.get("filepath"):
        name = f"{image.name('filepath')}/{name}"
    texts = tuple(
        _text(fields(image.path, f"{image.place}.sentences[{i}]", entry, _SENTENCE), imgid, sentences)
        for i, entry in enumerate(image.entries("sentences"))
    )
    image_id = image.identifier("cocoid") if "cocoid" in image.values else imgid
    told = image.metadata("imgid", "cocoid", "filename", "filepath", "split", "sentences", "sentids")
    return Entry(image.place, name, texts, image.split("split"), {"image_id": image_id, **told})


def _text(sentence: Fields, imgid: int | str, sentences: dict[str, str]) -> Text:
    if sentence.values.get("imgid", imgid) != imgid:
        raise sentence.bad(f'"imgid" {quoted(sentence.identifier("imgid"))} is not that of its image, {quoted(imgid)}')
    return Text(f"sentence {sentence.once('sentid', sentences)}", sentence.text("raw"))
