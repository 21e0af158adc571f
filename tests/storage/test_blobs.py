"""Small files that are made once, by whoever comes first."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from storage.blobs import Blobs

MANY = 8


def test_a_blob_is_made_once_and_read_afterwards(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    assert blobs.get_or_make("abc.jpg", lambda: b"first") == b"first"
    assert blobs.get_or_make("abc.jpg", lambda: b"second") == b"first"


def test_threads_that_make_the_same_blob_at_once_all_get_it(tmp_path: Path) -> None:
    blobs, together = Blobs(tmp_path), Barrier(MANY)

    def make() -> bytes:
        together.wait(60)
        return b"same"

    for round_number in range(20):
        with ThreadPoolExecutor(MANY) as threads:
            wanted = [threads.submit(blobs.get_or_make, f"{round_number:02}.jpg", make) for _ in range(MANY)]
        assert {one.result() for one in wanted} == {b"same"}
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"] == []


def test_a_blob_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        Blobs(tmp_path).get_or_make("abc.jpg", fail)
    assert list(tmp_path.rglob("*")) == []


def test_a_blob_that_cannot_be_kept_is_given_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert Blobs(tmp_path).get_or_make("abc", lambda: b"made") == b"made"
