"""Every fault of a dataset is one line that names the file, the record, and what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from indexer.errors import BadDataset
from indexer.sources.layouts import Reading, read

IMAGE = 'an image reads {"id": 1, "file_name": "a.jpg"}'
ANNOTATION = 'an annotation reads {"id": 2, "image_id": 1, "caption": "a text"}'
SENTENCE = 'a sentence reads {"sentid": 0, "imgid": 0, "raw": "a text"}'
SPLIT_IMAGE = 'an image reads {"imgid": 0, "filename": "a.jpg", "split": "test", "sentences": [...]}'
ENTRY = 'an entry reads {"image": "a.jpg", "caption": "a text"} or {"image": "a.jpg", "caption": ["a text", "another"]}'
REGION = 'a region reads {"region_id": 5, "image_id": 1, "phrase": "a text", "x": 0, "y": 0, "width": 9, "height": 9}'
TOKEN = 'a line reads "a.jpg#0<tab>a text" or "a.jpg| 0| a text"'
SBU = "SBU is two files, NAME_urls.txt with an address per line and NAME_captions.txt with a text per line"
TABLE = 'a record has "image" and "caption"'
NAME_THEM = "name them with --image-column and --text-column"
DOUBLED = "a cell with quotes in it stands in quotes, and doubles its own"
LINE = 'a line reads {"file": "a.jpg", "texts": ["a text", "another"]}'


def error(folder: Path, content: Any, name: str = "d", **reading: Any) -> str:
    """What is said of a file with this content; its pictures a.jpg, b.jpg and 1.jpg are there."""
    for picture in ("a.jpg", "b.jpg", "1.jpg"):
        (folder / picture).write_bytes(b"x")
    path = folder.resolve() / name
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    with pytest.raises(BadDataset) as raised:
        read(path, Reading(**reading))
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    return line.replace(f"{folder.resolve()}/", "")


def coco(images: Any = None, annotations: Any = None) -> dict[str, Any]:
    a = {"id": 1, "file_name": "a.jpg"}
    return {
        "images": [a] if images is None else images,
        "annotations": [{"id": 2, "image_id": 1, "caption": "a cat"}] if annotations is None else annotations,
    }


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            {"annotations": [{"caption": "x"}]},
            'd: "images" is missing; a file of captions reads {"images": [...], "annotations": [...]}',
        ),
        (
            coco(images={}),
            'd: "images" is an object, not a list; a file of captions reads {"images": [...], "annotations": [...]}',
        ),
        (
            {"images": [{"id": 1}]},
            'd: "annotations" is missing; a file of captions reads {"images": [...], "annotations": [...]}',
        ),
        (coco(images=[5]), f"d, images[0]: a number, not an object; {IMAGE}"),
        (coco(images=[{"file_name": "a.jpg"}]), f'd, images[0]: "id" is missing; {IMAGE}'),
        (coco(images=[{"id": True, "file_name": "a.jpg"}]), f'd, images[0]: "id" is true or false, not an id; {IMAGE}'),
        (coco(images=[{"id": 1}]), f'd, images[0]: "file_name" is missing; {IMAGE}'),
        (
            coco(images=[{"id": 1, "file_name": 5}]),
            f'd, images[0]: "file_name" is a number, not the name of a picture; {IMAGE}',
        ),
        (coco(images=[{"id": 1, "file_name": " "}]), f'd, images[0]: "file_name" is empty; {IMAGE}'),
        (
            coco(images=[{"id": 1, "file_name": "a\0.jpg"}]),
            f'd, images[0]: "file_name" holds a zero byte or half a character: "a\\x00.jpg"; {IMAGE}',
        ),
        (
            coco(images=[{"id": 1, "file_name": "a\ud800.jpg"}]),
            f'd, images[0]: "file_name" holds a zero byte or half a character: "a\\ud800.jpg"; {IMAGE}',
        ),
        (
            coco(images=[{"id": 1, "file_name": "a.jpg", "by": "\0"}]),
            f'd, images[0]: "by" holds a zero byte or half a character: "\\x00"; {IMAGE}',
        ),
        (coco(images=[{"id": 1, "file_name": "a.jpg"}] * 2), f'd, images[1]: "id" 1 is that of images[0] too; {IMAGE}'),
        (
            coco(images=[{"id": i, "file_name": "a.jpg"} for i in (1, 2)]),
            'd, images[1]: its picture "a.jpg" is that of images[0] too',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": 1, "bbox": [0, 0, 1, 1]}]),
            f'd, annotations[0]: "caption" is missing; {ANNOTATION}',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": 1, "caption": None}]),
            f'd, annotations[0]: "caption" is null, not a text; {ANNOTATION}',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": 1, "caption": " \n"}]),
            f'd, annotations[0]: "caption" is empty; {ANNOTATION}',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": 1, "caption": "a\udc41"}]),
            f'd, annotations[0]: "caption" holds a zero byte or half a character: "a\\udc41"; {ANNOTATION}',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": 42, "caption": "x"}]),
            f'd, annotations[0]: "image_id" 42 is the id of no image; {ANNOTATION}',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": "1", "caption": "x"}]),
            f'd, annotations[0]: "image_id" "1" is the id of no image; {ANNOTATION}',
        ),
        (
            coco(annotations=[{"id": 2, "image_id": 1, "caption": "x"}] * 2),
            f'd, annotations[1]: "id" 2 is that of annotations[0] too; {ANNOTATION}',
        ),
        (coco(annotations=[]), "d: not one text; a dataset has pictures and texts"),
    ],
)
def test_coco(tmp_path: Path, content: Any, line: str) -> None:
    assert error(tmp_path, content) == line


def test_what_json_has_no_number_for_is_null(tmp_path: Path) -> None:
    content = coco(annotations=[{"id": 2, "image_id": 1, "caption": float("nan")}])
    assert error(tmp_path, content) == f'd, annotations[0]: "caption" is null, not a text; {ANNOTATION}'


def test_a_licence_without_an_id(tmp_path: Path) -> None:
    line = 'd, licenses[0]: "id" is missing; a licence reads {"id": 1, "name": "CC BY 4.0", "url": "https://..."}'
    assert error(tmp_path, {**coco(), "licenses": [{"name": "CC0"}]}) == line


def karpathy(sentences: Any, **image: Any) -> dict[str, Any]:
    return {"images": [{"imgid": 0, "filename": "a.jpg", "split": "test", "sentences": sentences, **image}]}


A_CAT = {"sentid": 7, "raw": "a cat"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"images": [{"imgid": 0, "filename": "a.jpg"}]}, f'd, images[0]: "sentences" is missing; {SPLIT_IMAGE}'),
        (
            {"images": karpathy([A_CAT])["images"] * 2},
            f'd, images[1]: "imgid" 0 is that of images[0] too; {SPLIT_IMAGE}',
        ),
        (karpathy([A_CAT], filename=""), f'd, images[0]: "filename" is empty; {SPLIT_IMAGE}'),
        (karpathy([A_CAT], split=5), f'd, images[0]: "split" is a number, not a text; {SPLIT_IMAGE}'),
        (karpathy(["a cat"]), f"d, images[0].sentences[0]: a text, not an object; {SENTENCE}"),
        (karpathy([{"sentid": 7}]), f'd, images[0].sentences[0]: "raw" is missing; {SENTENCE}'),
        (
            karpathy([A_CAT, A_CAT]),
            f'd, images[0].sentences[1]: "sentid" 7 is that of images[0].sentences[0] too; {SENTENCE}',
        ),
        (
            karpathy([{**A_CAT, "imgid": 3}]),
            f'd, images[0].sentences[0]: "imgid" 3 is not that of its image, 0; {SENTENCE}',
        ),
    ],
)
def test_karpathy(tmp_path: Path, content: Any, line: str) -> None:
    assert error(tmp_path, content) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([], "d: not one text; a dataset has pictures and texts"),
        ([{"image": "a.jpg"}], f'd, [0]: "caption" is missing; {ENTRY}'),
        ([{"image": "a.jpg", "caption": []}], f'd, [0]: "caption" is an empty list; {ENTRY}'),
        ([{"image": "a.jpg", "caption": ["a cat", 5]}], f'd, [0]: "caption"[1] is a number, not a text; {ENTRY}'),
        (
            [{"image": "a.jpg", "caption": {}}],
            f'd, [0]: "caption" is an object, not a text or a list of texts; {ENTRY}',
        ),
        ([{"image": "", "caption": "a cat"}], f'd, [0]: "image" is empty; {ENTRY}'),
        ([{"image": "a.jpg", "caption": "a cat"}, None], f"d, [1]: null, not an object; {ENTRY}"),
        (
            [{"image": "a.jpg", "caption": "x", "split": "val"}, {"image": "a.jpg", "caption": "y"}],
            'd, [1]: the split of "a.jpg" is none here and "val" in [0]; a picture is in one split',
        ),
    ],
)
def test_retrieval(tmp_path: Path, content: Any, line: str) -> None:
    assert error(tmp_path, content) == line


BOX = {"x": 1, "y": 2, "width": 3, "height": 4}


@pytest.mark.parametrize(
    ("regions", "line"),
    [
        ([{"region_id": 5, "phrase": "x"}], f'd, [0].regions[0]: "x" is missing; {REGION}'),
        (
            [{"region_id": 5, "phrase": "x", **BOX, "y": "2"}],
            f'd, [0].regions[0]: "y" is a text, not a number; {REGION}',
        ),
        ([{"region_id": 5, "phrase": "", **BOX}], f'd, [0].regions[0]: "phrase" is empty; {REGION}'),
        (
            [{"region_id": 5, "phrase": "x", **BOX}] * 2,
            f'd, [0].regions[1]: "region_id" 5 is that of [0].regions[0] too; {REGION}',
        ),
        (
            [{"region_id": 5, "image_id": 2, "phrase": "x", **BOX}],
            f'd, [0].regions[0]: "image_id" 2 is not that of its image, 1; {REGION}',
        ),
    ],
)
def test_visual_genome(tmp_path: Path, regions: Any, line: str) -> None:
    assert error(tmp_path, [{"id": 1, "regions": regions}]) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a.jpg#0\ta cat\na dog\n", f"d, line 2: neither a text of a picture nor empty; {TOKEN}"),
        ("a.jpg#0\ta cat\na.jpg#0\ta dog\n", f"d, line 2: text 0 of this picture is in line 1 too; {TOKEN}"),
        ("a.jpg| 0| a cat\na.jpg| 0| a dog\n", f"d, line 2: text 0 of this picture is in line 1 too; {TOKEN}"),
        ("a.jpg#0\ta cat\na.jpg#1\t \n", f'd, line 2: "text" is empty; {TOKEN}'),
        ("a.jpg#0\ta cat\n#1\ta dog\n", f'd, line 2: "name" is empty; {TOKEN}'),
        (
            "a.jpg#0\ta cat\na.jpg#1\ta\0dog\n",
            f'd, line 2: "text" holds a zero byte or half a character: "a\\x00dog"; {TOKEN}',
        ),
        (b"a.jpg#0\ta cat\na.jpg#1\tcaf\xe9\n", "d, line 2: not UTF-8"),
    ],
)
def test_token_files(tmp_path: Path, content: Any, line: str) -> None:
    assert error(tmp_path, content) == line


@pytest.mark.parametrize(
    ("urls", "texts", "line"),
    [
        ("http://f/a.jpg\nhttp://f/b.jpg\n", "A cat.\n", f"s_urls.txt: 2 lines, but s_captions.txt has 1; {SBU}"),
        ("http://f/a.jpg\n", None, f"s_urls.txt: s_captions.txt is not beside it; {SBU}"),
        ("http://f/a.jpg\nb.jpg\n", "A cat.\nA dog.", f's_urls.txt, line 2: "b.jpg" is no address; {SBU}'),
        (
            "http://f/a.jpg\nhttp://[f/b.jpg\n",
            "A cat.\nA dog.",
            f's_urls.txt, line 2: "http://[f/b.jpg" is no address; {SBU}',
        ),
        ("http://f/a.jpg\nhttp://f/\n", "A cat.\nA dog.", f's_urls.txt, line 2: "name" is empty; {SBU}'),
        ("http://f/a.jpg\nhttp://f/b.jpg\n", "\nA dog.", f's_captions.txt, line 1: "text" is empty; {SBU}'),
        (
            "http://f/1/a.jpg\nhttp://f/2/a.jpg\n",
            "A cat.\nA dog.",
            f's_urls.txt, line 2: a line before has "a.jpg" from another address, "http://f/1/a.jpg"; {SBU}',
        ),
    ],
)
def test_sbu(tmp_path: Path, urls: str, texts: str | None, line: str) -> None:
    if texts is not None:
        (tmp_path / "s_captions.txt").write_text(texts)
    assert error(tmp_path, urls, "s_urls.txt", layout="sbu") == line


def test_addresses_alone(tmp_path: Path) -> None:
    assert error(tmp_path, "https://f/a.jpg\nhttps://f/b.jpg\n") == f"d: addresses without texts; {SBU}"
    name = "d: its name has neither _urls nor _captions; " + SBU
    assert error(tmp_path, "https://f/a.jpg\nhttps://f/b.jpg\n", layout="sbu") == name


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("image,caption\na.jpg\n", f"d, line 2: 1 cell, but the header has 2; {TABLE}"),
        ('image,caption\n"a.jpg","a\ncat"\nb.jpg,a,b\n', f"d, line 4: 3 cells, but the header has 2; {TABLE}"),
        ("image,caption\na.jpg, \n", f'd, line 2: "caption" is empty; {TABLE}'),
        ("image,caption\n,a cat\n", f'd, line 2: "image" is empty; {TABLE}'),
        (
            "image,caption\na.jpg,a\0cat\n",
            f'd, line 2: "caption" holds a zero byte or half a character: "a\\x00cat"; {TABLE}',
        ),
        (
            "image,caption_1,caption_2\na.jpg,,\n",
            'd, line 2: no text in "caption_1", "caption_2"; a record has "image" and "caption_1", "caption_2"',
        ),
        ("image,caption,caption\na.jpg,x,y\n", 'd, line 1: two columns are called "caption"'),
        (
            "id,caption\n1,x\n",
            'd, line 1: no column names the pictures; its columns are "id", "caption"; ' + NAME_THEM,
        ),
        (
            "image\tid\na.jpg\t1\n",
            'd, line 1: no column holds the texts; its columns are "image", "id"; ' + NAME_THEM,
        ),
        (
            'image,caption\na.jpg,"a cat\n',
            "d, line 2: no row of cells (unexpected end of data); " + DOUBLED,
        ),
        (
            'image,caption\na.jpg,"a "big" cat"\n',
            "d, line 2: no row of cells (',' expected after '\"'); " + DOUBLED,
        ),
        ("image,caption\n", "d: not one text; a dataset has pictures and texts"),
        (b"image,caption\na.jpg,caf\xe9\n", "d, line 2: not UTF-8"),
        (
            "image,caption,split\na.jpg,x,val\na.jpg,y,test\n",
            'd, line 3: the split of "a.jpg" is "test" here and "val" in line 2; a picture is in one split',
        ),
        ("image,caption\na.jpg,x\n./a.jpg,y\n", 'd, line 3: its picture "./a.jpg" is that of line 2 too'),
    ],
)
def test_tables(tmp_path: Path, content: Any, line: str) -> None:
    assert error(tmp_path, content) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"file": "a.jpg", "texts": ["x"]}\nno\n', f"d, line 2: not JSON; {LINE}"),
        (
            '{"file": "a.jpg", "texts": ["x"]}\n[]\n',
            f"d, line 2: a list, not an object; {LINE}",
        ),
        (
            '{"file": "a.jpg", "texts": ["x"]}\n{"texts": ["x"]}\n',
            'd, line 2: "file" is missing; a record has "file" and "texts"',
        ),
        ('{"file": "a.jpg", "texts": []}\n', 'd, line 1: "texts" is an empty list; a record has "file" and "texts"'),
        ('{"file": "a.jpg", "texts": [""]}\n', 'd, line 1: "texts"[0] is empty; a record has "file" and "texts"'),
        (
            '{"file": 5, "texts": ["x"]}\n',
            'd, line 1: "file" is a number, not the name of a picture; a record has "file" and "texts"',
        ),
        (
            '{"a": "a.jpg"}\n{"a": "b.jpg"}\n',
            'd: no column names the pictures; its columns are "a"; ' + NAME_THEM,
        ),
    ],
)
def test_lines_of_json(tmp_path: Path, content: str, line: str) -> None:
    assert error(tmp_path, content) == line


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    told = 'd, line 1: no column is called "alt"; its columns are "image", "caption"'
    assert error(tmp_path, "image,caption\na.jpg,x\n", text_columns=("alt",)) == told
    assert error(tmp_path, "image,caption\na.jpg,x\n", image_column="alt") == told


def test_of_many_columns_and_splits_a_few_are_named(tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(30))
    first = ", ".join(f'"c{i}"' for i in range(20))
    line = f"d, line 1: no column names the pictures; its columns are {first} and 10 more; {NAME_THEM}"
    assert error(tmp_path, header + "\n") == line
    rows = "".join(f"{i}.jpg,x,s{i}\n" for i in range(21))
    there = ", ".join(f'"s{i}" (1)' for i in range(20))
    line = f'd: no picture is in the split "val"; there are {there} and 1 more'
    assert error(tmp_path, "image,caption,split\n" + rows, split="val") == line


def test_columns_of_what_is_no_table(tmp_path: Path) -> None:
    line = "d: --image-column and --text-column are for csv, tsv and jsonl; this is coco"
    assert error(tmp_path, coco(), image_column="file_name") == line


LOOKED_FOR = (
    'this JSON has none of the layouts looked for: {"images", "annotations"} (coco), {"images": [{"sentences"}]} '
    '(karpathy), [{"image", "caption"}] (blip), [{"id", "regions"}] (visual-genome)'
)
TEXT_LOOKED_FOR = (
    'its first line has none of the layouts looked for: "a.jpg#0<tab>a text" or "a.jpg| 0| a text" (flickr), an '
    "address, with the texts in a second file (sbu), an object of JSON per line (jsonl), names of columns (csv, tsv)"
)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "d: empty"),
        (" \n", "d: empty"),
        ({"questions": []}, f"d: {LOOKED_FOR}"),
        ([1, 2], f"d: {LOOKED_FOR}"),
        ("just a note\n", f"d: {TEXT_LOOKED_FOR}"),
        ("[a note]\n", f"d: {TEXT_LOOKED_FOR}"),
        (
            '{"images": [\n{"id": 1,}\n',
            "d, line 2, column 10: not JSON (Expecting property name enclosed in double quotes)",
        ),
        ('{"images": ', "d, line 1, column 12: not JSON (Expecting value)"),
        ("[" * 100_000, "d: not JSON that can be read (a number too long, or too many levels)"),
        ("[" + "1" * 5000 + "]", "d: not JSON that can be read (a number too long, or too many levels)"),
        (b'{"images":\n["caf\xe9"]}', "d, line 2: not UTF-8"),
        ("image,caption\n".encode("utf-16"), "d, line 1: not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "d, line 1: not UTF-8"),
    ],
)
def test_what_has_no_layout(tmp_path: Path, content: Any, line: str) -> None:
    assert error(tmp_path, content) == line


def test_bytes_that_are_no_letters_after_what_is_looked_at_first(tmp_path: Path) -> None:
    many = b"".join(b"a.jpg#%d\ta cat\n" % i for i in range(10_000))
    assert error(tmp_path, many + b"a.jpg#x\t\xff\n") == "d, line 10001: not UTF-8"
    assert error(tmp_path, json.dumps(coco()).encode() + b"\n" * 70_000 + b"\xff") == "d, line 70001: not UTF-8"


def test_a_letter_that_is_cut_where_looking_ends_is_none(tmp_path: Path) -> None:
    for shift in range(4):
        path = tmp_path / f"{shift}.csv"
        path.write_text("image,caption\n" + "x" * shift + "a.jpg," + "\N{SNOWMAN}" * 30_000 + "\n")
        (tmp_path / ("x" * shift + "a.jpg")).write_bytes(b"x")
        assert len(read(path, Reading()).examples[0].texts[0].text) == 30_000


def test_a_layout_that_is_not_known(tmp_path: Path) -> None:
    told = 'd: no layout is called "voc"; there are coco, karpathy, blip, visual-genome, flickr, sbu, csv, tsv, jsonl'
    assert error(tmp_path, coco(), layout="voc") == told


def test_a_layout_that_the_file_has_not(tmp_path: Path) -> None:
    assert error(tmp_path, [], layout="coco") == (
        'd: a list, not an object; a file of captions reads {"images": [...], "annotations": [...]}'
    )
    assert error(tmp_path, {}, layout="blip") == (
        'd: an object, not a list; a file of retrieval reads [{"image": "a.jpg", "caption": "a text"}, ...]'
    )


def test_splits_that_are_not_there(tmp_path: Path) -> None:
    assert (
        error(tmp_path, karpathy([A_CAT]), split="tset") == 'd: no picture is in the split "tset"; there are "test" (1)'
    )
    assert error(tmp_path, coco(), split="val") == 'd: no picture is in the split "val": this dataset has no splits'


def test_pictures_that_are_nowhere(tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    (both / "d").write_text("image,caption\nx.jpg,a cat\ny.jpg,a dog\n")
    (both / "one").write_text("image,caption\nx.jpg,a cat\n")
    (both / "far").write_text("image,caption\nhttps://f/x.jpg,a cat\nhttps://f/y.jpg,a dog\n")

    def said(name: str, **reading: Any) -> str:
        with pytest.raises(BadDataset) as raised:
            read(both / name, Reading(**reading))
        return str(raised.value).replace(str(tmp_path.resolve()), "TMP")

    assert said("d") == (
        'TMP/both/d: none of its 2 pictures is beside it or in TMP (the first is "x.jpg"); '
        "name their folder with --images"
    )
    assert said("one") == (
        'TMP/both/one: its picture is not beside it or in TMP (the first is "x.jpg"); name their folder with --images'
    )
    assert said("d", images=tmp_path.resolve()) == (
        'TMP/both/d: none of its 2 pictures is below TMP (the first is "x.jpg"); '
        "--images names the folder that their names are relative to"
    )
    (both / "pictures.zip").write_bytes(b"no archive")
    assert said("d", images=both.resolve() / "pictures.zip").startswith(
        "TMP/both/d: the archive of its pictures, TMP/both/pictures.zip, is no good: "
    )
    assert said("far") == (
        'TMP/both/far: none of its 2 pictures is beside it or in TMP (the first is "https://f/x.jpg"); '
        "they are addresses: download them, and name their folder with --images"
    )
    assert (
        said("d", images=tmp_path.resolve() / "none")
        == "TMP/both/d: its pictures are not in TMP/none: no such folder, and no archive"
    )


def test_names_that_end_alike_are_not_taken_for_one_another(tmp_path: Path) -> None:
    line = (
        f'd: none of its 2 pictures is beside it or in {tmp_path.resolve().parent} (the first is "x/a.jpg"); '
        "name their folder with --images"
    )
    assert error(tmp_path, "image,caption\nx/a.jpg,a cat\ny/a.jpg,a dog\n") == line
