from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from indexer.errors import SourceMissing
from indexer.sources.dataset import Dataset, Example
from indexer.sources.layouts import LAYOUTS, Reading, is_dataset, read

Written = Callable[..., Path]

COCO = {
    "licenses": [{"id": 3, "name": "CC BY 4.0", "url": "https://cc/by"}, {"id": 0, "name": "", "url": ""}],
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 4, "height": 3, "license": 3, "coco_url": "http://c/a.jpg"},
        {"id": 8, "file_name": "b.jpg", "license": 0},
        {"id": 9, "file_name": "c.jpg", "license": 5},
    ],
    "annotations": [
        {"id": 38, "image_id": 8, "caption": " a hill\n"},
        {"id": 12, "image_id": 7, "caption": "a cat"},
        {"id": 11, "image_id": 7, "caption": "a cat"},
    ],
}
KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "filepath": "val2014",
            "filename": "a.jpg",
            "imgid": 0,
            "cocoid": 391895,
            "split": "test",
            "sentids": [4, 2],
            "sentences": [
                {"sentid": 4, "imgid": 0, "raw": "a cat", "tokens": ["a", "cat"]},
                {"sentid": 2, "imgid": 0, "raw": "a dog"},
            ],
        },
        {"filename": "b.jpg", "imgid": 1, "split": "restval", "sentences": [{"sentid": 3, "raw": "a hill"}]},
    ],
}


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a dataset into its folder, with the pictures that are named, each one byte long."""

    def write(name: str, content: Any, pictures: str = "a.jpg b.jpg") -> Path:
        folder = tmp_path / "set"
        for picture in pictures.split():
            path = folder / picture
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
        return file

    return write


def said(dataset: Dataset) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(example.name, [(text.key, text.text) for text in example.texts]) for example in dataset.examples]


def places(dataset: Dataset) -> list[str]:
    return [example.place for example in dataset.examples]


# --- layouts of JSON


def test_coco_has_a_text_per_annotation_in_the_order_of_the_file(written: Written) -> None:
    dataset = read(written("captions.json", COCO), Reading())
    assert dataset.layout == "coco"
    assert said(dataset) == [
        ("a.jpg", [("annotation 12", "a cat"), ("annotation 11", "a cat")]),
        ("b.jpg", [("annotation 38", "a hill")]),
        ("c.jpg", []),
    ]
    assert places(dataset) == ["images[0]", "images[1]", "images[2]"]


def test_coco_tells_licence_size_and_addresses(written: Written) -> None:
    a, b, c = read(written("captions.json", COCO), Reading()).examples
    assert a.metadata == {
        "image_id": 7,
        "width": 4,
        "height": 3,
        "coco_url": "http://c/a.jpg",
        "licence": "CC BY 4.0",
        "licence_url": "https://cc/by",
    }
    assert b.metadata == {"image_id": 8}  # its licence says nothing
    assert c.metadata == {"image_id": 9, "license": 5}  # its licence is not listed


def test_karpathys_splits_name_the_folder_and_the_sentences(written: Written) -> None:
    dataset = read(written("dataset_coco.json", KARPATHY, "val2014/a.jpg b.jpg"), Reading())
    assert dataset.layout == "karpathy"
    assert said(dataset) == [
        ("val2014/a.jpg", [("sentence 4", "a cat"), ("sentence 2", "a dog")]),
        ("b.jpg", [("sentence 3", "a hill")]),
    ]
    assert [example.split for example in dataset.examples] == ["test", "restval"]
    assert [example.metadata for example in dataset.examples] == [{"image_id": 391895}, {"image_id": 1}]


def test_a_retrieval_file_has_one_text_or_a_list_of_texts(written: Written) -> None:
    entries = [
        {"image": "a.jpg", "caption": ["a cat", "a dog"]},
        {"image": "b.jpg", "caption": "a hill", "image_id": "coco_5"},
    ]
    dataset = read(written("coco_karpathy_test.json", entries), Reading())
    assert dataset.layout == "blip"
    assert said(dataset) == [
        ("a.jpg", [("row 0#0", "a cat"), ("row 0#1", "a dog")]),
        ("b.jpg", [("row 1", "a hill")]),
    ]
    assert dataset.examples[1].metadata == {"image_id": "coco_5"}


def test_rows_of_one_picture_are_put_together_in_order(written: Written) -> None:
    entries = [
        {"image": "a.jpg", "caption": "one", "image_id": 5, "score": 1},
        {"image": "b.jpg", "caption": "two", "image_id": 6},
        {"image": "a.jpg", "caption": "three", "image_id": 5, "score": 2},
    ]
    dataset = read(written("train.json", entries), Reading())
    assert said(dataset) == [("a.jpg", [("row 0", "one"), ("row 2", "three")]), ("b.jpg", [("row 1", "two")])]
    assert dataset.examples[0].metadata == {"image_id": 5, "score": [1, 2]}
    assert places(dataset) == ["[0]", "[1]"]


def test_regions_are_texts_and_their_boxes_metadata(written: Written) -> None:
    box = {"x": 1, "y": 2, "width": 3, "height": 4}
    entries = [
        {"id": 1, "regions": [{"region_id": 5, "image_id": 1, "phrase": "a clock", **box}]},
        {"id": 2, "regions": []},
    ]
    file = written("region_descriptions.json", entries, "VG_100K/1.jpg VG_100K_2/2.jpg")
    dataset = read(file, Reading())
    assert dataset.layout == "visual-genome"
    assert said(dataset) == [("1.jpg", [("region 5", "a clock")]), ("2.jpg", [])]
    assert dataset.examples[0].metadata == {"image_id": 1, "regions": [box]}
    assert [example.picture.parent.name for example in dataset.examples] == ["VG_100K", "VG_100K_2"]


# --- layouts of lines


def test_token_files_have_a_line_per_text(written: Written) -> None:
    dataset = read(
        written("Flickr8k.token.txt", "a.jpg#0\ta cat .\r\nb.jpg#0\ta hill\r\n\r\na.jpg#1\ta #dog\n"), Reading()
    )
    assert dataset.layout == "flickr"
    assert said(dataset) == [
        ("a.jpg", [("a.jpg#0", "a cat ."), ("a.jpg#1", "a #dog")]),
        ("b.jpg", [("b.jpg#0", "a hill")]),
    ]
    assert places(dataset) == ["line 1", "line 2"]


@pytest.mark.parametrize("header", ["", "image_name| comment_number| comment\n"])
def test_bars_part_names_numbers_and_texts(written: Written, header: str) -> None:
    lines = 'a.jpg| 0| a "big" cat | or dog\na.jpg| 1   a cat\n'  # the second bar is missing as in the file of Kaggle
    dataset = read(written("results.csv", header + lines), Reading())
    assert dataset.layout == "flickr"
    assert said(dataset) == [("a.jpg", [("a.jpg#0", 'a "big" cat | or dog'), ("a.jpg#1", "a cat")])]


@pytest.mark.parametrize("named", ["SBU_urls.txt", "SBU_captions.txt"])
def test_either_of_sbus_files_names_both(written: Written, named: str) -> None:
    written("SBU_urls.txt", "http://f.com/1/a.jpg\r\nhttp://f.com/2/b.jpg?x=1\r\nhttp://f.com/1/a.jpg\r\n\r\n")
    texts = written("SBU_captions.txt", "A cat, asleep.\nA hill.\nA dog.\n")
    dataset = read(texts.with_name(named), Reading())
    assert dataset.layout == "sbu"
    assert dataset.path.name == "SBU_urls.txt"
    assert said(dataset) == [
        ("a.jpg", [("line 1", "A cat, asleep."), ("line 3", "A dog.")]),
        ("b.jpg", [("line 2", "A hill.")]),
    ]
    assert dataset.examples[1].metadata == {"url": "http://f.com/2/b.jpg?x=1"}


def test_a_table_is_read_by_its_usual_columns(written: Written) -> None:
    table = '\ufeffimage,caption,split,licence\r\na.jpg,"a ""big"" cat,\r\nasleep",test,CC\r\n\r\nb.jpg,a hill,val,\r\n'
    dataset = read(written("captions.txt", table), Reading())
    assert dataset.layout == "csv"
    assert said(dataset) == [("a.jpg", [("line 2", 'a "big" cat,\r\nasleep')]), ("b.jpg", [("line 5", "a hill")])]
    assert [(example.split, example.metadata) for example in dataset.examples] == [
        ("test", {"licence": "CC"}),
        ("val", {}),
    ]


@pytest.mark.parametrize(
    ("sign", "layout", "picture", "text"),
    [
        (",", "csv", "image", "caption"),
        (";", "csv", "File_Name", "TEXT"),
        ("\t", "tsv", "filepath", "title"),
        (",", "csv", "Picture", "description"),
        ("\t", "tsv", "image_path", "comment"),
    ],
)
def test_usual_names_and_signs_are_known(written: Written, sign: str, layout: str, picture: str, text: str) -> None:
    table = f"id{sign}{text}{sign}{picture}\n1{sign}a cat{sign}a.jpg\n"
    dataset = read(written("table", table), Reading())
    assert dataset.layout == layout
    assert said(dataset) == [("a.jpg", [("line 2", "a cat")])]
    assert dataset.examples[0].metadata == {"id": "1"}


def test_numbered_columns_hold_several_texts_and_need_not_all_be_filled(written: Written) -> None:
    table = "file_name,caption_a,caption_b,title\na.jpg,a cat,a dog,x\nb.jpg,,a hill,y\n"
    dataset = read(written("wide.csv", table), Reading())
    assert said(dataset) == [
        ("a.jpg", [("line 2 caption_a", "a cat"), ("line 2 caption_b", "a dog")]),
        ("b.jpg", [("line 3 caption_b", "a hill")]),
    ]
    assert dataset.examples[0].metadata == {"title": "x"}


def test_named_columns_are_taken_instead_of_the_usual(written: Written) -> None:
    table = "image,caption,alt,where\nx,no,a cat,a.jpg\n"
    reading = Reading(image_column="where", text_columns=("alt", "caption"))
    dataset = read(written("t.csv", table), reading)
    assert said(dataset) == [("a.jpg", [("line 2 alt", "a cat"), ("line 2 caption", "no")])]
    assert dataset.examples[0].metadata == {"image": "x"}


def test_a_cell_may_be_a_list_of_texts(written: Written) -> None:
    table = 'raw,split,filename,img_id\n"[""a cat"", ""a dog""]",test,a.jpg,0\n'
    dataset = read(written("flickr_annotations.csv", table), Reading())
    assert said(dataset) == [("a.jpg", [("line 2#0", "a cat"), ("line 2#1", "a dog")])]


def test_rows_of_a_table_are_put_together_by_picture(written: Written) -> None:
    table = "image\tcaption\tby\tset\na.jpg\ta cat\tAda\tx\nb.jpg\ta hill\tAda\tx\na.jpg\ta dog\tBob\tx\n"
    dataset = read(written("t.tsv", table), Reading())
    assert said(dataset) == [("a.jpg", [("line 2", "a cat"), ("line 4", "a dog")]), ("b.jpg", [("line 3", "a hill")])]
    assert dataset.examples[0].metadata == {"by": ["Ada", "Bob"], "set": "x"}


def test_lines_of_json_have_a_text_or_a_list_and_other_keys_are_metadata(written: Written) -> None:
    lines = [
        {
            "file": "a.jpg",
            "texts": ["a cat", " a dog "],
            "year": 2001,
            "ok": True,
            "nan": float("nan"),
            "box": {"x": 1},
        },
        {"file": "b.jpg", "texts": "a hill", "tags": ["x", "y"], "split": "val", "none": None},
    ]
    dataset = read(written("captions.jsonl", "\n\n".join(map(json.dumps, lines))), Reading())
    assert dataset.layout == "jsonl"
    assert said(dataset) == [
        ("a.jpg", [("line 1#0", "a cat"), ("line 1#1", "a dog")]),
        ("b.jpg", [("line 3", "a hill")]),
    ]
    assert [example.metadata for example in dataset.examples] == [{"year": 2001, "ok": True}, {"tags": ["x", "y"]}]
    assert [example.split for example in dataset.examples] == [None, "val"]


def test_lines_need_not_all_have_as_many_texts(written: Written) -> None:
    lines = (
        '{"image": "a.jpg", "caption_0": "a cat"}\n{"image": "b.jpg", "caption_0": "a hill", "caption_1": "a slope"}\n'
    )
    assert said(read(written("wide.jsonl", lines), Reading())) == [
        ("a.jpg", [("line 1 caption_0", "a cat")]),
        ("b.jpg", [("line 2 caption_0", "a hill"), ("line 2 caption_1", "a slope")]),
    ]


def test_a_single_line_of_json_is_a_dataset_too(written: Written) -> None:
    dataset = read(written("one.json", {"image": "a.jpg", "caption": "a cat"}), Reading())
    assert (dataset.layout, said(dataset)) == ("jsonl", [("a.jpg", [("line 1", "a cat")])])


# --- finding out


def test_every_layout_is_found_by_its_content_whatever_the_file_is_called(written: Written) -> None:
    row = {"image": "a.jpg", "caption": "a cat"}
    region = {"region_id": 5, "phrase": "a clock", "x": 1, "y": 2, "width": 3, "height": 4}
    contents: dict[str, Any] = {
        "coco": json.dumps(COCO, indent=1),
        "karpathy": "\ufeff" + json.dumps(KARPATHY),
        "blip": [row],
        "visual-genome": [{"id": 1, "regions": [region]}],
        "flickr": "a.jpg#0\ta cat",
        "sbu": "a cat\n",
        "csv": "image,caption\na.jpg,a cat",
        "tsv": "image\tcaption\na.jpg\ta cat",
        "jsonl": json.dumps(row) + "\n" + json.dumps({**row, "caption": "a dog"}),
    }
    assert set(contents) == set(LAYOUTS)
    found = {}
    for layout, content in contents.items():
        beside = written("x_urls.txt", "https://f.com/a.jpg\n")
        if layout != "sbu":
            beside.unlink()
        found[layout] = read(written("x_captions.txt", content, "a.jpg 1.jpg"), Reading()).layout
    assert found == {layout: layout for layout in LAYOUTS}


def test_a_layout_that_is_named_is_not_looked_for(written: Written) -> None:
    file = written("one.json", {"pic": "a.jpg", "alt": "a cat"})
    dataset = read(file, Reading(layout="jsonl", image_column="pic", text_columns=("alt",)))
    assert said(dataset) == [("a.jpg", [("line 1", "a cat")])]


@pytest.mark.parametrize("name", ["a.json", "a.JSONL", "a.ndjson", "a.csv", "a.tsv", "a.txt", "a.token"])
def test_a_file_may_be_a_dataset_by_its_suffix(written: Written, name: str) -> None:
    assert is_dataset(written(name, ""))


def test_pictures_archives_and_folders_are_no_datasets(written: Written, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    for path in (written("a.png", ""), written("a.tar", ""), tmp_path / "folder.json", tmp_path / "missing.json"):
        assert not is_dataset(path)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"nothing to index at .*none.json"):
        read(tmp_path / "none.json", Reading())


# --- splits


def test_only_the_examples_of_a_split_are_taken(written: Written) -> None:
    file = written("dataset_coco.json", KARPATHY, "val2014/a.jpg b.jpg")
    assert [example.name for example in read(file, Reading(split="restval")).examples] == ["b.jpg"]


# --- pictures


def table_of(*names: str) -> str:
    return "image,caption\n" + "".join(f"{name},a text\n" for name in names)


def pictures(dataset: Dataset, root: Path) -> list[str]:
    return [str(example.picture.relative_to(root.resolve())) for example in dataset.examples]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("", "a.jpg"),
        ("images/", "a.jpg"),
        ("Images/", "a.jpg"),
        ("", "images/a.jpg"),
        ("val2017/", "a.jpg"),
        ("Flicker8k_Dataset/", "a.jpg"),
        ("flickr30k-images/", "a.jpg"),
        ("images2/VG_100K_2/", "a.jpg"),
    ],
)
@pytest.mark.parametrize("above", ["", "annotations/"])
def test_pictures_are_found_beside_the_file_and_beside_its_folder(
    written: Written, tmp_path: Path, folder: str, name: str, above: str
) -> None:
    file = written(f"{above}t.csv", table_of(name), f"{folder}{name}")
    assert pictures(read(file, Reading()), tmp_path) == [f"set/{folder}{name}"]


def test_the_folder_that_is_named_goes_before_all(written: Written, tmp_path: Path) -> None:
    file = written("t.csv", table_of("a.jpg"), "a.jpg elsewhere/a.jpg more/images/a.jpg")
    assert pictures(read(file, Reading(images=file.parent / "elsewhere")), tmp_path) == ["set/elsewhere/a.jpg"]
    assert pictures(read(file, Reading(images=file.parent / "more")), tmp_path) == ["set/more/images/a.jpg"]


def test_the_place_with_the_most_pictures_is_taken_for_all(written: Written, tmp_path: Path) -> None:
    file = written("t.csv", table_of("a.jpg", "b.jpg", "c.jpg"), "a.jpg images/b.jpg images/c.jpg")
    dataset = read(file, Reading())
    assert pictures(dataset, tmp_path) == ["set/images/a.jpg", "set/images/b.jpg", "set/images/c.jpg"]
    assert not dataset.examples[0].picture.exists()  # the other set's a.jpg is not mistaken for it


def test_a_picture_that_is_missing_points_to_where_it_should_be(written: Written, tmp_path: Path) -> None:
    file = written("t.csv", table_of("b.jpg", "gone.jpg"), "images/b.jpg")
    assert pictures(read(file, Reading()), tmp_path) == ["set/images/b.jpg", "set/images/gone.jpg"]


def test_one_picture_among_many_is_enough(written: Written) -> None:
    file = written("t.csv", table_of(*(f"{i}.jpg" for i in range(200))), "images/101.jpg")
    found = [example.name for example in read(file, Reading()).examples if example.picture.exists()]
    assert found == ["101.jpg"]


def test_folders_of_one_set_are_looked_into_together(written: Written, tmp_path: Path) -> None:
    file = written("t.csv", table_of("a.jpg", "b.jpg", "c.jpg"), "train2014/a.jpg val2014/b.jpg")
    assert pictures(read(file, Reading()), tmp_path) == [
        "set/train2014/a.jpg",
        "set/val2014/b.jpg",
        "set/train2014/c.jpg",
    ]


def test_names_of_other_machines_are_found_by_their_last_part(written: Written, tmp_path: Path) -> None:
    names = ("/export/home/a.jpg", "images\\b.jpg", "http://f.com/c.jpg")
    file = written("t.csv", table_of(*names), "photos/a.jpg photos/b.jpg photos/c.jpg")
    dataset = read(file, Reading(images=file.parent / "photos"))
    assert pictures(dataset, tmp_path) == ["set/photos/a.jpg", "set/photos/b.jpg", "set/photos/c.jpg"]


def test_absolute_names_and_names_that_climb_stay_what_they_are(written: Written, tmp_path: Path) -> None:
    (tmp_path / "out.jpg").write_bytes(b"x")
    (tmp_path / "far.jpg").write_bytes(b"x")
    file = written("t.csv", table_of(f"{tmp_path}/far.jpg", "../out.jpg"), "")
    assert pictures(read(file, Reading()), tmp_path) == ["far.jpg", "out.jpg"]


def test_paths_are_absolute_and_links_to_folders_followed(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written("t.csv", table_of("in/a.jpg"), "real/a.jpg")
    (file.parent / "in").symlink_to(file.parent / "real")
    monkeypatch.chdir(file.parent)
    dataset = read(Path("t.csv"), Reading())
    assert dataset.path == file.resolve()
    assert pictures(dataset, tmp_path) == ["set/real/a.jpg"]


def test_an_example_is_what_the_reader_says(written: Written, tmp_path: Path) -> None:
    (example,) = read(written("t.csv", "image,caption,split\na.jpg,a cat,test\n"), Reading()).examples
    picture = tmp_path.resolve() / "set" / "a.jpg"
    assert example == Example("line 2", "a.jpg", picture, example.texts, "test", {})


def test_pictures_may_lie_in_an_archive(written: Written, tmp_path: Path) -> None:
    file = written("t.csv", table_of("a.jpg", "gone.jpg"), "")
    with ZipFile(tmp_path / "val2017.zip", "w") as archive:
        archive.writestr("val2017/a.jpg", b"x")
    dataset = read(file, Reading(images=tmp_path / "val2017.zip"))
    assert pictures(dataset, tmp_path) == ["val2017.zip/val2017/a.jpg", "val2017.zip/val2017/gone.jpg"]
