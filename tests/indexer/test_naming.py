"""What pictures are called: by their source, and never by their place on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indexer.sources.layouts import Reading
from indexer.sources.naming import name_below, picture_name
from indexer.sources.place import Place, to_source
from indexer.uri import to_uri


@pytest.mark.parametrize(
    ("uri", "source", "name"),
    [
        ("/d/photos/a/1.png", "/d/photos", "a/1.png"),
        ("/d/photos/images/1.png", "/d/photos", "images/1.png"),
        ("/a/1.png", "/", "a/1.png"),
        ("/d/00000.tar/a/1.png", "/d/00000.tar", "a/1.png"),
        ("/d/shards/00000.tar/1.png", "/d/shards", "00000.tar/1.png"),
        ("/d/00000.tar/1.png", "/d/00000.tar?split=test", "1.png"),
        ("/d/a/1.png", "/d/c.jsonl", "a/1.png"),
        ("/d/images/a/1.png", "/d/c.jsonl", "a/1.png"),
        ("/d/images/VG_100K/1.png", "/d/c.json", "1.png"),
        ("/d/train2017/1.png", "/d/annotations/c.json?split=train", "1.png"),
        ("/e/pictures/a/1.png", "/d/c.jsonl?images=/e/pictures", "a/1.png"),
        ("/e/pictures.zip/a/1.png", "/d/c.jsonl?images=/e/pictures.zip", "a/1.png"),
        ("/elsewhere/a/1.png", "/home/d/c.jsonl", "1.png"),
        ("/elsewhere/a/1.png", "/d/c.jsonl", "1.png"),
        ("/d/photos/100%25.png", "/d/photos", "100%.png"),
    ],
)
def test_a_picture_is_named_below_its_source_or_by_its_file_alone(uri: str, source: str, name: str) -> None:
    assert picture_name(uri, source) == name


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"name": "coco/val2014/1.png"}, "coco/val2014/1.png"),
        ({"name": "../pictures/1.png"}, "../pictures/1.png"),
        ({"name": "http://f.com/1.png"}, "http://f.com/1.png"),
        ({"name": "a\\1.png"}, "a\\1.png"),
        ({"name": "/home/ada/coco/1.png"}, "1.png"),
        ({"name": "C:\\coco\\1.png"}, "1.png"),
        ({"name": "Ada Lovelace"}, "1.png"),
        ({"name": ["1.png"]}, "1.png"),
        ({}, "1.png"),
    ],
)
def test_a_dataset_names_its_pictures_itself_but_not_by_places_or_columns(known: dict[str, Any], name: str) -> None:
    assert picture_name("/d/images/1.png", "/d/c.json", known) == name


def test_a_folder_whose_name_has_marks_names_its_pictures_too() -> None:
    place = Place(Path("/d/what? a&b=c#d"), Reading(split="test"))
    assert picture_name(to_uri(place.path / "1.png"), to_source(place)) == "1.png"
    assert picture_name(to_uri("/d/why?/1.png"), to_uri("/d/why?")) == "1.png"


def test_what_lies_elsewhere_is_not_below() -> None:
    assert name_below("/elsewhere/1.png", "/home/d/c.jsonl") is None
    assert name_below("/d/photos2/1.png", "/e/photos") is None
