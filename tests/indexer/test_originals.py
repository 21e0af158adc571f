from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from indexer.errors import DecodeFailed, OriginalChanged, OriginalMissing
from indexer.originals import open_original
from indexer.sources.folder import FileRecord, records


@pytest.fixture
def record(tmp_path: Path) -> FileRecord:
    Image.new("RGB", (4, 2), "red").save(tmp_path / "red\n100%.png")
    (found,) = records(tmp_path)
    assert isinstance(found, FileRecord)
    return found


def test_an_unchanged_original_is_opened(record: FileRecord) -> None:
    image = open_original(record.uri, size=record.size, mtime_ns=record.mtime_ns)
    assert (image.size, image.getpixel((0, 0))) == ((4, 2), (255, 0, 0))


def test_an_original_of_another_date_has_changed(record: FileRecord) -> None:
    os.utime(record.path, ns=(record.mtime_ns + 1, record.mtime_ns + 1))
    with pytest.raises(OriginalChanged) as caught:
        open_original(record.uri, size=record.size, mtime_ns=record.mtime_ns)
    assert caught.value.uri == record.uri


def test_an_original_of_another_size_has_changed(record: FileRecord) -> None:
    record.path.write_bytes(record.path.read_bytes() + b"x")
    os.utime(record.path, ns=(record.mtime_ns, record.mtime_ns))
    with pytest.raises(OriginalChanged):
        open_original(record.uri, size=record.size, mtime_ns=record.mtime_ns)


def test_an_original_that_is_gone_is_missing(record: FileRecord) -> None:
    record.path.unlink()
    with pytest.raises(OriginalMissing) as caught:
        open_original(record.uri, size=record.size, mtime_ns=record.mtime_ns)
    assert caught.value.uri == record.uri
    assert str(caught.value) == f"{record.uri} is {caught.value.reason}"


def test_the_pixel_limit_holds_for_originals(record: FileRecord) -> None:
    with pytest.raises(DecodeFailed, match="too large: 4 x 2 pixels, the limit is 7"):
        open_original(record.uri, size=record.size, mtime_ns=record.mtime_ns, pixel_limit=7)
