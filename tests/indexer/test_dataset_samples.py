"""The layouts as they are found in the wild: 76 pictures of COCO with five captions each, where samples are present."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.errors import BadDataset
from indexer.sources.layouts import Reading, read

DATA = Path(__file__).parents[2] / "../shared/data"
FORMATS = DATA / "formats"
PHOTOS = DATA / "photos"

pytestmark = pytest.mark.skipif(
    not FORMATS.is_dir() or not PHOTOS.is_dir(), reason="the samples of layouts are not here"
)


@pytest.mark.parametrize(
    ("name", "layout", "pictures", "texts", "found"),
    [
        ("coco/captions_coco_10images.json", "coco", 10, 50, 10),
        ("coco/COCO-MINI_captions_train2017.json", "coco", 80, 400, 26),
        ("coco/COCO-MINI_captions_val2017.json", "coco", 79, 395, 25),
        ("karpathy/dataset_coco_open_karpathy_schema.json", "karpathy", 76, 380, 76),
        ("blip_albef/coco_open_retrieval_test.json", "blip", 76, 380, 76),
        ("csv_open.csv", "csv", 76, 380, 76),
        ("flickr8k_token_style.txt", "flickr", 10, 50, 10),
        ("flickr30k_results_pipe_style.csv", "flickr", 10, 50, 10),
        ("../photos/captions.jsonl", "jsonl", 76, 380, 76),
        ("../photos/captions_coco_format.json", "coco", 76, 380, 76),
    ],
)
def test_a_sample_has_its_pictures_and_texts(name: str, layout: str, pictures: int, texts: int, found: int) -> None:
    dataset = read(FORMATS / name, Reading(images=PHOTOS))
    assert dataset.layout == layout
    assert len(dataset.examples) == pictures
    keys = [text.key for example in dataset.examples for text in example.texts]
    assert len(set(keys)) == len(keys) == texts
    assert sum(example.picture.is_file() for example in dataset.examples) == found


def test_all_layouts_of_the_76_say_the_same() -> None:
    names = (
        "karpathy/dataset_coco_open_karpathy_schema.json",
        "blip_albef/coco_open_retrieval_test.json",
        "csv_open.csv",
        "../photos/captions.jsonl",
        "../photos/captions_coco_format.json",
    )
    said = [
        {
            example.picture: sorted(text.text for text in example.texts)
            for example in read(FORMATS / name, Reading(images=PHOTOS)).examples
        }
        for name in names
    ]
    assert all(of_one == said[0] for of_one in said)


def test_the_licences_of_coco_are_told() -> None:
    file = PHOTOS / "captions_coco_format.json"
    names = {licence["name"] for licence in json.loads(file.read_text())["licenses"]}
    assert {example.metadata["licence"] for example in read(file, Reading()).examples} <= names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("coco/COCO-MINI_instances_val2017.json", 'annotations\\[0\\]: "caption" is missing'),
        ("allennlp_fixtures/vqav2/annotations.json", "none of the layouts"),
        ("allennlp_fixtures/vqav2/questions.json", "none of the layouts"),
        ("allennlp_fixtures/gqa/questions.json", "none of the layouts"),
        ("allennlp_fixtures/vgqa/question_answers.json", "none of the layouts"),
        ("allennlp_fixtures/visual_entailment/sample_pairs.jsonl", "no column names the pictures"),
        ("allennlp_fixtures/flickr30k/sentences/1.txt", "none of the layouts"),
        ("img2dataset/unique_images.txt", "addresses without texts"),
        ("img2dataset/hashes.json", "none of the layouts"),
    ],
)
def test_what_is_no_dataset_of_texts_is_said_in_one_line(name: str, reason: str) -> None:
    with pytest.raises(BadDataset, match=reason) as raised:
        read(FORMATS / name, Reading(images=PHOTOS))
    assert "\n" not in str(raised.value)
