"""Uploaded files: names are the senders', and no file ever lies outside of its gallery's folder."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from storage.errors import BadGalleryName, DiskFull, UploadRefused, UploadsFull
from storage.uploads import Uploads


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", most_bytes=10_000)


def there(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_keep_their_names_and_folders(uploads: Uploads) -> None:
    names = ["a.jpg", "beach/2024/b c.jpg", "<img src=x onerror=alert(1)>.jpg", "ü😀.png", "back\\slash", "new\nline"]
    for name in names:
        uploads.keep("photos", name, name.encode())
    assert there(uploads.folder("photos")) == {name: name.encode() for name in names}


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a.jpg",
        "a/../../b.jpg",
        "/etc/passwd",
        "a//b.jpg",
        "a/",
        "./a.jpg",
        ".hidden",
        "a/.hidden/b.jpg",
        "a\0b",
        "a" * 256,
        "é" * 128,
        "/".join(["a" * 200] * 6),
        "half\ud800",
    ],
)
def test_a_name_that_cannot_be_is_refused_and_leaves_nothing(uploads: Uploads, tmp_path: Path, name: str) -> None:
    with pytest.raises(UploadRefused):
        uploads.keep("photos", name, b"x")
    assert there(tmp_path) == {}


@pytest.mark.parametrize("gallery", ["..", ".", "", "a/b", "A"])
def test_a_gallery_of_no_name_has_no_folder(uploads: Uploads, gallery: str) -> None:
    assert not uploads.is_any(gallery)
    with pytest.raises(BadGalleryName):
        uploads.keep(gallery, "a.jpg", b"x")


def test_a_name_of_full_length_can_be_kept(uploads: Uploads) -> None:
    uploads.keep("photos", "a" * 255, b"x")
    assert there(uploads.folder("photos")) == {"a" * 255: b"x"}


def test_other_content_replaces_a_file_and_the_same_leaves_it_alone(uploads: Uploads) -> None:
    path = uploads.folder("photos") / "a.jpg"
    uploads.keep("photos", "a.jpg", b"one")
    os.utime(path, ns=(1, 1))
    uploads.keep("photos", "a.jpg", b"one")
    assert path.stat().st_mtime_ns == 1
    uploads.keep("photos", "a.jpg", b"two")
    assert (path.read_bytes(), path.stat().st_mtime_ns > 1) == (b"two", True)


def test_a_file_and_a_folder_cannot_share_a_name(uploads: Uploads) -> None:
    uploads.keep("photos", "a", b"x")
    uploads.keep("photos", "b/c", b"x")
    for name in ("a/b", "b"):
        with pytest.raises(UploadRefused, match="same name"):
            uploads.keep("photos", name, b"y")


def test_a_link_does_not_lead_out(uploads: Uploads, tmp_path: Path) -> None:
    uploads.keep("photos", "a", b"x")
    (tmp_path / "outside").mkdir()
    (uploads.folder("photos") / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(UploadRefused, match="link"):
        uploads.keep("photos", "link/a.jpg", b"x")
    assert there(tmp_path / "outside") == {}


def test_removing_takes_one_gallery_only(uploads: Uploads) -> None:
    for gallery in ("a", "b"):
        uploads.keep(gallery, "x/y", b"x")
    with uploads.removing() as set_aside:
        set_aside("a")
        set_aside("never")
        assert not uploads.is_any("a")
    assert there(uploads.folder("a").parent) == {"b/x/y": b"x"}
    assert not uploads.is_any("a")


def test_what_is_not_removed_after_all_is_put_back(uploads: Uploads) -> None:
    uploads.keep("a", "x", b"x")
    with suppress(ZeroDivisionError), uploads.removing() as set_aside:
        set_aside("a")
        raise ZeroDivisionError
    assert there(uploads.folder("a").parent) == {"a/x": b"x"}


def test_a_later_gallery_does_not_inherit_what_a_killed_deletion_left(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads.keep("a", "old", b"x")
    with monkeypatch.context() as killed, uploads.removing() as set_aside:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        set_aside("a")
    uploads.keep("a", "new", b"y")
    assert [path.name for path in uploads.folder("a").iterdir()] == ["new"]
    uploads.sweep()
    assert there(uploads.folder("a").parent) == {"a/new": b"y"}


def test_sweeping_before_anything_was_sent_does_nothing(uploads: Uploads, tmp_path: Path) -> None:
    uploads.sweep()
    assert list(tmp_path.iterdir()) == []


def test_all_uploads_together_have_a_bound(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most_bytes=10)
    uploads.keep("a", "x", b"1234")
    uploads.keep("b", "y", b"1234")
    with pytest.raises(UploadsFull, match="SIGHTLINE_UPLOADS_BYTES"):
        uploads.keep("b", "z", b"1234")
    uploads.keep("b", "y", b"123456")  # in place of four bytes
    with uploads.removing() as set_aside:
        set_aside("a")
    uploads.keep("b", "z", b"1234")
    assert there(tmp_path) == {"b/y": b"123456", "b/z": b"1234"}


def test_what_another_process_deleted_makes_room(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most_bytes=4)
    uploads.keep("a", "x", b"1234")
    (tmp_path / "a" / "x").unlink()
    uploads.keep("a", "y", b"1234")


@pytest.mark.parametrize(("number", "reason"), [(2, "deleted"), (13, "permission denied")])
def test_a_file_that_cannot_be_written_is_refused_with_a_reason(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UploadRefused, match=reason):
        uploads.keep("photos", "a.jpg", b"x")


def test_a_full_disk_is_said(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        uploads.keep("photos", "a.jpg", b"x")
    monkeypatch.undo()
    assert there(uploads.folder("photos").parent) == {}
