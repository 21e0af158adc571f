from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from indexer.decode import decode
from indexer.errors import BadCaptions, SourceMissing
from indexer.sources.folder import CaptionRecord, FailedRecord, FileRecord, captions, looks_rendered, records
from indexer.uri import from_uri, to_uri


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(folder: Path) -> list[str]:
    return [os.path.relpath(from_uri(record.uri), folder.resolve()) for record in records(folder)]


def test_files_come_in_the_byte_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.jpg", "a.jpg", "a/b/c.jpg", "B.jpg", "é.jpg", "a-b.jpg"):
        write(tmp_path / name)
    assert names(tmp_path) == ["B.jpg", "a-b.jpg", "a.jpg", "a/b/c.jpg", "a/z.jpg", "b.jpg", "é.jpg"]


def test_a_record_tells_path_uri_size_and_date(tmp_path: Path) -> None:
    path = write(tmp_path / "cat.jpg", b"12345")
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    (record,) = records(tmp_path)
    assert record == FileRecord(path.resolve(), to_uri(path.resolve()), 5, 1_234_567_890_123_456_789)


def test_hidden_names_and_captions_are_passed_over_and_every_other_suffix_counts(tmp_path: Path) -> None:
    for name in (".hidden.jpg", ".cache/a.jpg", "captions.jsonl", "notes.txt", "no suffix", "empty.png"):
        write(tmp_path / name)
    assert names(tmp_path) == ["empty.png", "no suffix", "notes.txt"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    write(tmp_path / "a" / "cat.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "twin.jpg").symlink_to(tmp_path / "a" / "cat.jpg")
    assert names(tmp_path) == ["a/cat.jpg", "twin.jpg"]


def test_a_link_to_nothing_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    circle, gone = records(tmp_path)
    assert gone == FailedRecord(to_uri(tmp_path.resolve() / "gone.jpg"), "unreadable: a link to nothing")
    assert isinstance(circle, FailedRecord)
    assert circle.reason.startswith("unreadable: ")


def test_pipes_and_sockets_are_passed_over_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)  # the name of a socket may be 107 bytes long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        assert names(tmp_path) == []


def test_a_file_that_vanishes_during_the_walk_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    vanishing = write(tmp_path / "b.jpg")
    write(tmp_path / "c.jpg")
    walk = records(tmp_path)
    first = next(walk)
    vanishing.unlink()
    assert [from_uri(record.uri).name for record in (first, *walk)] == ["a.jpg", "c.jpg"]


def test_a_folder_that_vanishes_during_the_walk_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    (tmp_path / "b").mkdir()
    walk = records(tmp_path)
    next(walk)
    (tmp_path / "b").rmdir()
    assert list(walk) == [FailedRecord(to_uri(tmp_path.resolve() / "b"), "unreadable: no such file or directory")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    write(tmp_path / "closed" / "a.jpg")
    write(tmp_path / "open.jpg")
    (tmp_path / "closed").chmod(0)
    failed, read = records(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert failed == FailedRecord(to_uri(tmp_path.resolve() / "closed"), "unreadable: permission denied")
    assert isinstance(read, FileRecord)


def test_names_that_are_not_utf_8_or_hold_a_newline_lead_to_their_files(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"two\nlines.png"):
        Image.new("RGB", (2, 2), "red").save(write(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))), "PNG")
    found = list(records(tmp_path))
    assert [record.uri.rpartition("/")[2] for record in found] == ["caf%E9.png", "two%0Alines.png"]
    assert all(decode(from_uri(record.uri)).getpixel((0, 0)) == (255, 0, 0) for record in found)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_folder_is_missing_at_once(tmp_path: Path, name: str) -> None:
    write(tmp_path / "file")
    with pytest.raises(SourceMissing) as caught:
        records(tmp_path / name)
    assert caught.value.path == tmp_path / name


# --- captions


def test_captions_are_read_with_the_uri_of_their_file(tmp_path: Path) -> None:
    write(tmp_path / "in" / "cat.jpg")
    write(
        tmp_path / "captions.jsonl",
        b'\xef\xbb\xbf{"file": "in/cat.jpg", "texts": [" a cat ", "a cat", "one animal"], "more": 1}\n'
        b"\n"
        b'{"file": "./gone.jpg", "texts": ["nothing"]}\n',
    )
    found = list(captions(tmp_path))
    (record,) = records(tmp_path)
    assert found == [
        CaptionRecord(record.uri, ("a cat", "one animal")),
        CaptionRecord(to_uri(tmp_path.resolve() / "gone.jpg"), ("nothing",)),
    ]


def test_a_file_name_that_is_not_utf_8_is_written_with_json_escapes(tmp_path: Path) -> None:
    write(tmp_path / "captions.jsonl", b'{"file": "caf\\udce9.jpg", "texts": ["a house"]}')
    (caption,) = captions(tmp_path)
    assert caption.file_uri.endswith("/caf%E9.jpg")


def test_a_folder_without_captions_has_none(tmp_path: Path) -> None:
    assert list(captions(tmp_path)) == []


@pytest.mark.parametrize(
    "line",
    [
        b"a cat",
        b"\xff\xfe",
        b'["cat.jpg", "a cat"]',
        b'{"texts": ["a cat"]}',
        b'{"file": "", "texts": ["a cat"]}',
        b'{"file": "a\\u0000b", "texts": ["a cat"]}',
        b'{"file": "\\ud800", "texts": ["a cat"]}',
        b'{"file": "cat.jpg"}',
        b'{"file": "cat.jpg", "texts": "a cat"}',
        b'{"file": "cat.jpg", "texts": []}',
        b'{"file": "cat.jpg", "texts": ["a cat", "  "]}',
        b'{"file": "cat.jpg", "texts": ["a cat", 3]}',
        b'{"file": "cat.jpg", "texts": ["half a \\ud83d"]}',
        b"[" * 100_000,
    ],
)
def test_a_bad_line_is_named_with_what_would_be_right(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "captions.jsonl", b'{"file": "a.jpg", "texts": ["fine"]}\n' + line + b"\n")
    reader = captions(tmp_path)
    assert next(reader).texts == ("fine",)
    with pytest.raises(BadCaptions, match=r'captions\.jsonl, line 2: .*; a line reads \{"file": ') as caught:
        next(reader)
    assert (caught.value.path, caught.value.line) == (path.resolve(), 2)


def test_a_pipe_in_place_of_captions_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "captions.jsonl")
    with pytest.raises(BadCaptions, match="not a regular file"):
        list(captions(tmp_path))


# --- rendered scenes


def test_a_folder_looks_rendered_when_all_of_its_sample_are(tmp_path: Path) -> None:
    for i in range(50):
        write(tmp_path / f"{i:02}.png")
    write(tmp_path / "notes.txt")
    seen: list[str] = []

    def is_rendered(path: Path) -> bool:
        seen.append(path.name)
        return path.name != "48.png"

    assert looks_rendered(records(tmp_path), is_rendered, sample=10)
    assert seen == ["00.png", "05.png", "10.png", "15.png", "20.png", "25.png", "30.png", "35.png", "40.png", "45.png"]
    assert not looks_rendered(records(tmp_path), is_rendered, sample=50)


def test_a_folder_without_pictures_does_not_look_rendered(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt")
    assert not looks_rendered(records(tmp_path), lambda path: True)
