"""Digests of files: right, read once, recorded once."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from retrieval.errors import WeightsChanged
from retrieval.models import cache, digests

ORIGIN = "https://example.org/weights/model.pth?generation=1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two files that were written a while ago."""
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode())
        age(tmp_path / name)
    return tmp_path / "one", tmp_path / "two"


def age(file: Path) -> None:
    os.utime(file, (1_700_000_000, 1_700_000_000))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_digest_of_several_files_is_that_of_their_bytes_in_a_row(files: tuple[Path, Path]) -> None:
    one, two = files
    assert digests.sha256(one, two) == digest(b"onetwo")
    assert digests.sha256(two, one) == digest(b"twoone")
    assert digests.sha256(one) == digest(b"one")
    assert digests.sha256() == digest(b"")


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_is_read_once_alone_or_with_others(files: tuple[Path, Path], count: int) -> None:
    one = files[0]
    digests.sha256(*files[:count])
    one.write_bytes(b"ONE")
    # The time and the size are those of the file that was read.
    age(one)
    assert digests.sha256(one) == digest(b"one")
    moved = one.rename(one.with_name("moved"))
    assert digests.sha256(moved) == digest(b"one")


def test_a_file_that_was_written_twice_within_the_clocks_grain_is_read_twice(files: tuple[Path, Path]) -> None:
    one, now = files[0], time.time_ns()
    for content in (b"uno", b"un!", b"uns"):
        one.write_bytes(content)
        os.utime(one, ns=(now, now))
        assert digests.sha256(one) == digest(content)


def test_a_file_that_was_written_is_read_again(files: tuple[Path, Path]) -> None:
    one = files[0]
    for i, content in enumerate((b"uno", b"un!", b"uns")):
        one.write_bytes(content)
        os.utime(one, (1_700_000_000, 1_700_000_001 + i))
        assert digests.sha256(one) == digest(content)


def test_a_record_is_a_line_that_sha256sum_reads(files: tuple[Path, Path]) -> None:
    digests.check(files[0], ORIGIN)
    record = digests.record_of(ORIGIN)
    assert record == cache.folder() / "digests" / "example.org" / "weights" / "model.pth%3Fgeneration%3D1.sha256"
    assert record.read_text() == f"{digest(b'one')}  {files[0]}\n"


@pytest.mark.parametrize("content", ["", "nothing", "\udcff"])
def test_a_record_that_makes_no_sense_is_written_anew(files: tuple[Path, Path], content: str) -> None:
    record = digests.record_of(ORIGIN)
    record.parent.mkdir(parents=True)
    record.write_bytes(content.encode("utf-8", "surrogateescape"))
    digests.check(files[0], ORIGIN)
    with pytest.raises(WeightsChanged, match=str(files[1])):
        digests.check(files[1], ORIGIN)


def test_a_cache_that_cannot_be_written_is_no_hindrance(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(files[0]))
    digests.check(files[0], ORIGIN)
    digests.check(files[1], ORIGIN)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://example.org/a/b.pth", "example.org/a/b.pth"),
        ("https://user:secret@Example.org:8443//a/b.pth", "example.org%3A8443/a/b.pth"),
        ("https://example.org/../.././b.pth", "example.org/%2E%2E/%2E%2E/%2E/b.pth"),
        ("https://example.org/%2E%2E/a%2Fb.pth", "example.org/%2E%2E/a%2Fb.pth"),
        ("https://example.org/a b.pth?v=1&w=../2", "example.org/a%20b.pth%3Fv%3D1%26w%3D..%2F2"),
    ],
)
def test_an_address_is_a_path_inside_the_cache(address: str, place: str) -> None:
    assert cache.place("files", address) == cache.folder() / "files" / place
