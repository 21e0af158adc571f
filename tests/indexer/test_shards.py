from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer import archives
from indexer.errors import BadDataset, SourceMissing
from indexer.sources import layouts
from indexer.sources.dataset import Dataset, Example
from indexer.sources.layouts import Reading
from indexer.sources.shards import is_shards, read

SAMPLES = Path(__file__).parents[2] / "../shared/data/formats"
JPG = b"not decoded here"


def write_tar(path: Path, files: dict[str, bytes] | list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode, encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for name, content in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_parquet(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def said(path: Path, **options: Any) -> str:
    with pytest.raises(BadDataset) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), path.name)


def texts(dataset: Dataset) -> list[list[tuple[str, str]]]:
    return [[(text.key, text.text) for text in example.texts] for example in dataset.examples]


def names(dataset: Dataset) -> list[str]:
    return [example.name for example in dataset.examples]


# --- what is a dataset of shards


def test_archives_and_folders_of_them_are_shards(tmp_path: Path) -> None:
    for name in ("a.tar", "b.TGZ", "c.tar.gz", "d.tar.bz2", "e.tar.xz", "f.zip", "g.parquet"):
        (tmp_path / name).touch()
        assert is_shards(tmp_path / name), name
    for name in ("stats.json", "LICENSE", "README.md", "list.txt", ".hidden.jpg"):
        (tmp_path / name).touch()
    assert is_shards(tmp_path)
    assert not is_shards(tmp_path / "list.txt")


def test_a_folder_with_a_picture_or_a_folder_in_it_is_a_folder(tmp_path: Path) -> None:
    assert not is_shards(tmp_path)
    write_tar(tmp_path / "a.tar", {})
    (tmp_path / "picture.jpg").touch()
    assert not is_shards(tmp_path)
    (tmp_path / "picture.jpg").unlink()
    (tmp_path / "more").mkdir()
    assert not is_shards(tmp_path)
    assert not is_shards(tmp_path / "gone.tar")


def test_shards_that_are_gone_are_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        read(tmp_path / "gone.tar")


def test_a_folder_without_archives_and_one_of_two_kinds_say_so(tmp_path: Path) -> None:
    assert said(tmp_path).endswith(": it holds no archives of pictures (.tar, .tgz, .zip, .parquet)")
    write_tar(tmp_path / "a.tar", {"a.jpg": JPG})
    write_zip(tmp_path / "a.zip", {"a.jpg": JPG})
    assert "archives of different kinds: tar and zip; name one of them" in said(tmp_path)


# --- webdataset


def test_members_up_to_the_first_dot_are_a_sample(tmp_path: Path) -> None:
    files = {
        "x/0.1/a.txt": b"  a dog \n",
        "x/0.1/a.jpg": JPG,
        "b.jpg": JPG,
        "b.mask.png": JPG,
        "b.cls": b"7",
        "b.npy": b"\x93NUMPY\x00",
    }
    dataset = read(write_tar(tmp_path / "00000.tar", files))
    assert dataset == Dataset(
        tmp_path / "00000.tar",
        "webdataset",
        (
            Example(
                "sample x/0.1/a", "x/0.1/a.jpg", tmp_path / "00000.tar/x/0.1/a.jpg", dataset.examples[0].texts, None, {}
            ),
            Example(
                "sample b", "b.jpg", tmp_path / "00000.tar/b.jpg", (), None, {"cls": 7, "pictures": ["b.mask.png"]}
            ),
        ),
    )
    assert texts(dataset) == [[("x/0.1/a.txt", "a dog")], []]
    assert archives.read(dataset.examples[0].picture) == JPG


def test_members_of_a_sample_need_not_follow_each_other(tmp_path: Path) -> None:
    files = {"a.jpg": JPG, "b.jpg": JPG, "b.txt": b"bee", "a.txt": b"ay"}
    assert texts(read(write_tar(tmp_path / "x.tar", files))) == [[("a.txt", "ay")], [("b.txt", "bee")]]


def test_every_line_of_a_text_is_a_text(tmp_path: Path) -> None:
    files = {"a.jpg": JPG, "a.txt": "one\r\n\ntwo\u2028still two\n".encode()}
    assert texts(read(write_tar(tmp_path / "x.tar", files))) == [
        [("a.txt#0", "one"), ("a.txt#1", "two\u2028still two")]
    ]


def test_lines_that_the_json_calls_one_text_are_one(tmp_path: Path) -> None:
    files = {"a.jpg": JPG, "a.txt": b"one\ntwo", "a.json": json.dumps({"caption": "one\ntwo", "width": 3}).encode()}
    dataset = read(write_tar(tmp_path / "x.tar", files))
    assert texts(dataset) == [[("a.txt", "one\ntwo")]]
    assert dataset.examples[0].metadata == {"width": 3}


def test_json_gives_texts_where_there_are_no_others_and_the_rest_is_metadata(tmp_path: Path) -> None:
    told = {"captions": ["one", "two"], "url": "http://x/a.jpg", "split": "val", "bad": float("nan"), "none": None}
    files = {
        "a.jpg": JPG,
        "a.json": json.dumps(told).encode(),
        "b.jpg": JPG,
        "b.json": json.dumps({"caption": "other"}).encode(),
        "b.txt": b"text",
        "c.jpg": JPG,
        "c.json": b"[1, 2]",
        "c.txt": b"",
    }
    dataset = read(write_tar(tmp_path / "x.tar", files))
    assert texts(dataset) == [[("a.json captions#0", "one"), ("a.json captions#1", "two")], [("b.txt", "text")], []]
    assert [example.metadata for example in dataset.examples] == [
        {"url": "http://x/a.jpg"},
        {"caption": "other"},
        {"json": [1, 2]},
    ]
    assert [example.split for example in dataset.examples] == ["val", None, None]


def test_the_user_may_say_which_members_and_keys_are_texts(tmp_path: Path) -> None:
    files = {
        "a.jpg": JPG,
        "a.png": JPG,
        "a.txt": b"no",
        "a.alt": b"yes",
        "a.json": json.dumps({"caption": "no", "long": "long yes"}).encode(),
    }
    path = write_tar(tmp_path / "x.tar", files)
    dataset = read(path, text_columns=("alt", "long"), image_column="png")
    assert texts(dataset) == [[("a.alt", "yes"), ("a.json long", "long yes")]]
    assert names(dataset) == ["a.png"]
    assert said(path, text_columns=("alt", "shrt")) == (
        'x.tar: no sample has texts called "shrt"; its columns are "alt", "caption", "long", "txt"'
    )
    assert said(path, image_column="webp") == 'x.tar, sample a: it has a text but no picture that ends in ".webp"'
    bare = write_tar(tmp_path / "bare.tar", {"a.jpg": JPG})
    assert said(bare, image_column="webp") == 'bare.tar: no picture\'s name ends in ".webp"'


def test_several_shards_are_one_dataset_whose_names_say_the_shard(tmp_path: Path) -> None:
    for number, text in enumerate((b"zero", b"one")):
        write_tar(tmp_path / f"0000{number}.tar", {"a.jpg": JPG, "a.txt": text})
        write_parquet(tmp_path / f"0000{number}.parquet", url=["http://x/a.jpg"], caption=["zero"])
        (tmp_path / f"0000{number}_stats.json").write_text("{}")
    assert is_shards(tmp_path)
    dataset = read(tmp_path)
    assert dataset.layout == "webdataset"
    assert names(dataset) == ["00000.tar/a.jpg", "00001.tar/a.jpg"]
    assert [example.place for example in dataset.examples] == ["00000.tar, sample a", "00001.tar, sample a"]
    assert texts(dataset) == [[("00000.tar/a.txt", "zero")], [("00001.tar/a.txt", "one")]]
    assert [example.picture for example in dataset.examples] == [tmp_path / f"0000{n}.tar" / "a.jpg" for n in (0, 1)]


def test_a_compressed_tar_reads_the_same(tmp_path: Path) -> None:
    files = {"a.jpg": JPG, "a.txt": b"text"}
    dataset = read(write_tar(tmp_path / "x.tgz", files, "w:gz"))
    assert texts(dataset) == [[("a.txt", "text")]]
    assert archives.read(dataset.examples[0].picture) == JPG


def test_names_that_are_no_utf8_are_written_so_that_they_can_be_kept(tmp_path: Path) -> None:
    dataset = read(write_tar(tmp_path / "x.tar", {"\udcff.jpg": JPG, "\udcff.txt": b"text"}))
    assert names(dataset) == ["\\xff.jpg"]
    assert texts(dataset) == [[("\\xff.txt", "text")]]
    assert archives.read(dataset.examples[0].picture) == JPG


def test_what_is_wrong_with_a_sample_is_said_in_one_line(tmp_path: Path) -> None:
    def wrong(files: dict[str, bytes] | list[tuple[str, bytes]]) -> str:
        return said(write_tar(tmp_path / "x.tar", files))

    assert wrong({"a.jpg": JPG, "b.txt": b"text"}) == "x.tar, sample b: it has a text but no picture"
    assert wrong({"a.jpg": JPG, "b.json": b'{"caption": "text"}'}) == "x.tar, sample b: it has a text but no picture"
    assert wrong({"a.jpg": JPG, "a.txt": b"\xff"}) == "x.tar, sample a: a.txt is not UTF-8"
    assert wrong({"a.jpg": JPG, "a.json": b"{"}) == "x.tar, sample a: a.json is not JSON"
    assert wrong({"a.jpg": JPG, "a.json": b'{"caption": 3}'}) == (
        'x.tar, sample a: "caption" is a number, not a text or a list of texts'
    )
    assert wrong({"a.jpg": JPG, "a.txt": b"one\0two"}) == (
        'x.tar, sample a: a text holds a zero byte or half a character: "one\\x00two"'
    )
    assert wrong([("a.jpg", JPG), ("a.jpg", JPG)]) == "x.tar, member a.jpg: two members have this name"
    assert wrong([("a\n.jpg", JPG), ("a\n.jpg", JPG)]) == 'x.tar, member "a\\n.jpg": two members have this name'
    assert wrong({"a.mp": b"1", "b.mp": b"2", "c": b"3"}) == "x.tar: it holds no pictures, but 2 of .mp, 1 of no ending"
    assert wrong({}) == "x.tar: it holds no pictures, but nothing"


def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.jpg": JPG})
    path = write_tar(tmp_path / "1.tar", {"a.jpg": JPG, "b.jpg": JPG})
    path.write_bytes(path.read_bytes()[:1100])
    assert said(tmp_path) == f"{tmp_path.name}/1.tar: truncated: the archive ends early"


# --- splits


def test_a_split_is_chosen_by_what_samples_or_the_names_of_shards_say(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-00000-of-00001.tar", {"a.jpg": JPG})
    write_tar(tmp_path / "cc_test_0.tar", {"b.jpg": JPG, "c.jpg": JPG, "c.json": b'{"split": "val"}'})
    write_tar(tmp_path / "contest.tar", {"d.jpg": JPG})
    assert names(read(tmp_path, split="train")) == ["train-00000-of-00001.tar/a.jpg"]
    assert names(read(tmp_path, split="val")) == ["cc_test_0.tar/c.jpg"]
    assert len(read(tmp_path).examples) == 4
    reason = said(tmp_path, split="dev")
    assert reason.endswith(': no picture is of the split "dev"; there are "test", "val", "train"')
    write_tar(tmp_path / "contest.tar", {"d.jpg": JPG})
    assert said(tmp_path / "contest.tar", split="dev").endswith('"dev"; nothing in it names a split')


# --- zip


def test_pictures_alone_and_texts_beside_them_are_read_from_a_zip(tmp_path: Path) -> None:
    files = {
        "IMG.001.jpg": JPG,
        "IMG.002.jpg": JPG,
        "IMG.002.txt": b"two",
        "README.txt": b"about",
        "__MACOSX/._IMG.001.jpg": b"",
        ".hidden.jpg": JPG,
    }
    dataset = read(write_zip(tmp_path / "x.zip", files))
    assert (dataset.layout, names(dataset)) == ("zip", ["IMG.001.jpg", "IMG.002.jpg"])
    assert texts(dataset) == [[], [("IMG.002.txt", "two")]]
    assert archives.read(dataset.examples[1].picture) == JPG


def test_a_captions_file_in_a_zip_names_its_pictures(tmp_path: Path) -> None:
    first = b'{"file": "a.jpg", "texts": ["one", "two"]}\n\n{"file": "gone.jpg", "texts": ["x"]}\n'
    lines = first + b'{"file": "a.jpg", "texts": ["three"]}'
    files = {"photos/captions.jsonl": lines, "photos/b.jpg": JPG, "photos/a.jpg": JPG}
    dataset = read(write_zip(tmp_path / "x.zip", files))
    assert names(dataset) == ["photos/a.jpg", "photos/gone.jpg", "photos/b.jpg"]
    line = "photos/captions.jsonl line"
    assert texts(dataset) == [
        [(f"{line} 1#0", "one"), (f"{line} 1#1", "two"), (f"{line} 4#0", "three")],
        [(f"{line} 3#0", "x")],
        [],
    ]
    assert dataset.examples[0].place == "photos/captions.jsonl, line 1"
    with pytest.raises(FileNotFoundError):
        archives.stamp(dataset.examples[1].picture)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "one", "split": "test", "n": 3}\n'),
        ("metadata.csv", 'file_name,text,split,n\r\na.jpg,"one",test,3\r\n'),
    ],
)
def test_hugging_faces_lists_of_images_are_read(tmp_path: Path, name: str, content: str) -> None:
    dataset = read(write_zip(tmp_path / "x.zip", {name: content.encode(), "a.jpg": JPG}), split="test")
    assert texts(dataset) == [[(f"{name} line {1 if name.endswith('l') else 2}", "one")]]
    assert {key: int(value) for key, value in dataset.examples[0].metadata.items()} == {"n": 3}


def test_what_is_wrong_with_a_list_in_a_zip_is_said_in_one_line(tmp_path: Path) -> None:
    def wrong(name: str, content: bytes, **options: Any) -> str:
        return said(write_zip(tmp_path / "x.zip", {name: content, "a.jpg": JPG}), **options).partition(";")[0]

    assert wrong("captions.jsonl", b"{") == "x.zip, captions.jsonl, line 1: not JSON"
    assert wrong("captions.jsonl", b"\n3") == "x.zip, captions.jsonl, line 2: a number, not an object"
    for outside in ("../a.jpg", "..", "/a.jpg", "b/../../a.jpg"):
        assert wrong("captions.jsonl", json.dumps({"file": outside, "text": "x"}).encode()) == (
            f'x.zip, captions.jsonl, line 1: its picture "{outside}" leads out of the archive'
        )
    assert wrong("captions.jsonl", b'{"file": "b.jpg", "text": "x"}') == (
        "x.zip, captions.jsonl, line 1: none of the pictures that are listed is in the archive, as b.jpg"
    )
    assert wrong("captions.jsonl", b"\xff") == "x.zip, captions.jsonl: captions.jsonl is not UTF-8"
    assert wrong("metadata.csv", b"file_name,text\na.jpg\n") == (
        "x.zip, metadata.csv, line 2: 1 cell, but the header has 2"
    )
    assert wrong("metadata.csv", b"file_name,text\na.jpg,x\n", text_columns=("alt",)) == (
        'x.zip, metadata.csv, line 1: no column is called "alt"'
    )
    assert wrong("me\ntadata/captions.jsonl", b"{") == 'x.zip, "me\\ntadata/captions.jsonl", line 1: not JSON'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,caption_0,caption_1\na.jpg,x,y\nb.jpg,z,\n"),
        ("metadata.csv", "file_name;caption\na.jpg;one, two\n"),
        ("metadata.csv", "file_name\tcaption\na.jpg\tone, two\n"),
        ("metadata.csv", "File_Name,Caption,Split,n\na.jpg,x,test,3\na.jpg,y,test,4\n"),
        ("metadata.csv", 'file_name,captions\na.jpg,"[""x"",""y""]"\n'),
        ("metadata.csv", '\nfile_name,caption\n\na.jpg,"x\ny ""z"""\n'),
        ("captions.csv", "\ufefffile_name,caption\r\na.jpg, x \r\n"),
        (
            "metadata.jsonl",
            '{"file_name": "a.jpg", "text_0": "x"}\n{"file_name": "b.jpg", "text_0": "y", "text_1": "z"}',
        ),
        (
            "captions.jsonl",
            '{"File": "a.jpg", "texts": ["x"], "n": 1}\n\n{"File": "a.jpg", "texts": ["y"], "n": 2}\r\n',
        ),
    ],
)
@pytest.mark.parametrize("packed", [write_zip, write_tar])
def test_a_list_in_an_archive_says_what_it_says_on_disk(
    tmp_path: Path, packed: Callable[[Path, dict[str, bytes]], Path], name: str, content: str
) -> None:
    files = {name: content.encode(), "a.jpg": JPG, "b.jpg": JPG}
    for file, written in files.items():
        (tmp_path / file).write_bytes(written)
    listed = layouts.read(tmp_path / name, Reading()).examples
    inside = read(packed(tmp_path / f"x.{packed.__name__[-3:]}", files)).examples[: len(listed)]
    assert [(one.name, one.split, one.metadata) for one in inside] == [
        (one.name, one.split, one.metadata) for one in listed
    ]
    assert [(f"{name} {text.key}", text.text) for one in listed for text in one.texts] == [
        (text.key, text.text) for one in inside for text in one.texts
    ]
    assert [f"{name}, {one.place}" for one in listed] == [one.place for one in inside]


@pytest.mark.parametrize(
    ("name", "content", "said_of_it"),
    [
        (
            "captions.jsonl",
            '{"file": "a.jpg", "txets": ["x"]}',
            ': no column holds the texts; its columns are "file", ',
        ),
        ("captions.jsonl", '{"texts": ["x"]}', ': no column names the pictures; its columns are "texts"; '),
        ("captions.jsonl", '{"file": "a.jpg", "texts": []}', ', line 1: "texts" is an empty list; '),
        ("captions.jsonl", "\n", ": empty; a line reads "),
        ("metadata.csv", "file_name,label\na.jpg,7\n", ", line 1: no column holds the texts; "),
        ("metadata.csv", "file_name,text,text\na.jpg,x,y\n", ', line 1: two columns are called "text"'),
        ("metadata.csv", "file_name,text\na.jpg,\n", ', line 2: "text" is empty; '),
        ("metadata.csv", 'file_name,text\na.jpg,"x\n', ", line 2: no row of cells ("),
        ("metadata.csv", "", ": empty; the first line names the columns"),
        ("metadata.csv", "file_name,text\n", ": not one text; a dataset has pictures and texts"),
    ],
)
def test_a_list_in_an_archive_is_refused_as_on_disk(tmp_path: Path, name: str, content: str, said_of_it: str) -> None:
    files = {name: content.encode(), "a.jpg": JPG}
    inside = said(write_zip(tmp_path / "x.zip", files))
    assert inside.startswith(f"x.zip, {name}{said_of_it}")
    for file, written in files.items():
        (tmp_path / file).write_bytes(written)
    with pytest.raises(BadDataset) as on_disk:
        layouts.read(tmp_path / name, Reading(layout=name.partition(".")[2]))
    place = f"{name}, {on_disk.value.place}" if on_disk.value.place else name
    assert inside == f"x.zip, {place}: {on_disk.value.reason}"


def test_the_columns_of_a_list_in_an_archive_can_be_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"metadata.csv": b"file_name,alt,text\na.jpg,x,y\n", "a.jpg": JPG})
    dataset = read(path, text_columns=("alt", "text"))
    assert texts(dataset) == [[("metadata.csv line 2 alt", "x"), ("metadata.csv line 2 text", "y")]]
    assert read(path, text_columns=("alt",)).examples[0].metadata == {"text": "y"}


def test_lists_of_several_shards_keep_their_names_apart(tmp_path: Path) -> None:
    for shard in ("0.zip", "1.zip"):
        write_zip(tmp_path / shard, {"metadata.csv": b"file_name,text\na.jpg,x\n", "a.jpg": JPG})
    dataset = read(tmp_path)
    assert names(dataset) == ["0.zip/a.jpg", "1.zip/a.jpg"]
    assert texts(dataset) == [[("0.zip/metadata.csv line 2", "x")], [("1.zip/metadata.csv line 2", "x")]]
    assert [one.place for one in dataset.examples] == ["0.zip, metadata.csv, line 2", "1.zip, metadata.csv, line 2"]


def test_a_name_of_5000_letters_is_no_shards(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 5000 + ".zip")
    assert not is_shards(path)
    with pytest.raises(SourceMissing):
        read(path)


def test_an_encrypted_text_is_an_error_and_a_picture_is_left_to_decoding(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": JPG, "a.txt": b"one"})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 8] |= 1
    path.write_bytes(content)
    assert names(read(path)) == ["a.jpg"]
    content[content.index(b"PK\1\2", at + 4) + 8] |= 1
    path.write_bytes(content)
    assert said(path) == "x.zip, sample a: a.txt: encrypted in its archive"


# --- parquet


def test_rows_of_a_parquet_file_are_pictures_with_texts_and_metadata(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "00000.parquet",
        jpg=pa.array([JPG, None, b"three"], pa.binary()),
        key=["00", "01", "02"],
        caption=["one", "two", ""],
        status=["success", "failed_to_download", "success"],
        width=pa.array([3, None, 5], pa.int64()),
        taken=[datetime(2020, 1, 2), None, None],
        vector=[[0.5] * 512] * 3,
    )
    dataset = read(path)
    assert dataset.layout == "img2dataset parquet"
    assert names(dataset) == ["00", "01", "02"]
    assert texts(dataset) == [[("00", "one")], [("01", "two")], []]
    assert dataset.examples[0].metadata == {
        "key": "00",
        "status": "success",
        "width": 3,
        "taken": "2020-01-02T00:00:00",
    }
    assert [archives.read(dataset.examples[row].picture) for row in (0, 2)] == [JPG, b"three"]
    with pytest.raises(FileNotFoundError):
        archives.stamp(dataset.examples[1].picture)


def test_hugging_faces_objects_and_lists_of_texts_are_read(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "test-00000-of-00001.parquet",
        image=[{"bytes": JPG, "path": "a.jpg"}, {"bytes": JPG, "path": None}],
        TEXT=[["one", "two"], ["three"]],
    )
    dataset = read(path, split="test")
    assert texts(dataset) == [[("0#0", "one"), ("0#1", "two")], [("1", "three")]]
    assert archives.read(dataset.examples[1].picture) == JPG


def test_the_user_may_name_the_columns_of_a_parquet_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", thumb=[JPG], a=["one"], b=["two"], n=[1])
    assert texts(read(path, image_column="thumb", text_columns=("b", "a"))) == [[("0 b", "two"), ("0 a", "one")]]
    told = 'its columns are "thumb", "a", "b", "n"'
    assert (
        said(path) == f"x.parquet: no column is known to hold pictures; {told}; name one of bytes with --image-column"
    )
    assert said(path, image_column="c") == f'x.parquet: no column is called "c"; {told}'
    assert said(path, image_column="thumb", text_columns=("c",)) == f'x.parquet: no column is called "c"; {told}'
    assert said(path, image_column="n") == 'x.parquet: the column "n" is of int64, not of picture bytes'
    assert said(path, image_column="thumb", text_columns=("n",)) == (
        'x.parquet, sample 0: "n" is a number, not a text or a list of texts'
    )


def test_a_parquet_file_without_pictures_says_so(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", URL=["http://x/a.jpg"], TEXT=["one"])
    assert said(path) == (
        'x.parquet: it holds addresses of pictures (column "URL") and no pictures; download them first, '
        "for example with img2dataset, and index what it writes"
    )
    path = write_parquet(tmp_path / "x.parquet", jpg=pa.array([None, None], pa.binary()), key=["0", "1"])
    assert said(path) == 'x.parquet: no row has a picture in the column "jpg"'
    path = write_parquet(tmp_path / "x.parquet", jpg=pa.array([], pa.binary()))
    assert said(path) == 'x.parquet: no row has a picture in the column "jpg"'
    path.write_bytes(path.read_bytes()[:50])
    assert said(path) == "x.parquet: damaged: no parquet file, or one that ends early"


def test_several_parquet_files_are_one_dataset(tmp_path: Path) -> None:
    for number in range(2):
        write_parquet(tmp_path / f"{number}.parquet", png=[JPG], text=[f"text {number}"])
    dataset = read(tmp_path)
    assert texts(dataset) == [[("0.parquet/0", "text 0")], [("1.parquet/0", "text 1")]]
    assert [example.place for example in dataset.examples] == ["0.parquet, sample 0", "1.parquet, sample 0"]


# --- what others wrote


def sample(name: str) -> Path:
    if not (SAMPLES / name).exists():
        pytest.skip(f"{name} is not here: it is one of the samples that are not part of the project")
    return (SAMPLES / name).resolve()


def test_webdatasets_own_sample_is_read() -> None:
    dataset = read(sample("webdataset/sample.tgz"))
    assert len(dataset.examples) == 90
    assert dataset.examples[0].name == "10.png"
    assert dataset.examples[0].metadata == {"cls": 0}


def test_tars_of_pictures_alone_are_read() -> None:
    folder = sample("clip_retrieval_tars")
    assert [len(read(folder / f"image{n}.tar").examples) for n in (1, 2, 3, 4)] == [4, 3, 2, 2]
    assert len({example.name for example in read(folder).examples}) == 11


def test_archives_of_other_things_and_lists_of_addresses_say_so() -> None:
    assert said(sample("webdataset/mpdata.tar")) == "mpdata.tar: it holds no pictures, but 100 of .mp"
    assert said(sample("webdataset/compressed.tar")) == "compressed.tar: it holds no pictures, but 3 of .gz"
    assert "it holds addresses of pictures" in said(sample("img2dataset/sample_image.parquet"))
