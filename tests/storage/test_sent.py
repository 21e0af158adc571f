"""Pictures that were sent to search by: kept by content, the least recently used dropped."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from storage.errors import DiskFull, QueryPictureGone
from storage.sent import SentPictures


def kept(tmp_path: Path, most_bytes: int = 100, most_pictures: int = 10) -> SentPictures:
    return SentPictures(tmp_path / "sent", most_bytes=most_bytes, most_pictures=most_pictures)


def age(tmp_path: Path, digest: str, nanoseconds: int) -> None:
    os.utime(tmp_path / "sent" / digest, ns=(nanoseconds, nanoseconds))


def test_a_picture_is_kept_by_its_digest(tmp_path: Path) -> None:
    sent = kept(tmp_path)
    digest = sent.keep(b"picture")
    assert digest == sent.keep(b"picture") == hashlib.sha256(b"picture").hexdigest()
    assert sent.open(digest) == b"picture"
    assert len(list((tmp_path / "sent").iterdir())) == 1


@pytest.mark.parametrize("name", ["", "0" * 64, "../sent/x", "A" * 64, "\0"])
def test_what_is_not_kept_is_gone(tmp_path: Path, name: str) -> None:
    with pytest.raises(QueryPictureGone, match="send it again"):
        kept(tmp_path).open(name)


@pytest.mark.parametrize("limits", [{"most_pictures": 2}, {"most_bytes": 6}])
def test_the_least_recently_used_is_dropped(tmp_path: Path, limits: dict[str, int]) -> None:
    sent = kept(tmp_path, **limits)
    first, second = sent.keep(b"one"), sent.keep(b"two")
    age(tmp_path, first, 1)
    age(tmp_path, second, 2)
    sent.open(first)
    third = sent.keep(b"six")
    assert (sent.open(first), sent.open(third)) == (b"one", b"six")
    with pytest.raises(QueryPictureGone):
        sent.open(second)


def test_a_picture_larger_than_all_room_is_kept_until_the_next(tmp_path: Path) -> None:
    sent = kept(tmp_path, most_bytes=3)
    large = sent.keep(b"large")
    assert sent.open(large) == b"large"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        kept(tmp_path).keep(b"picture")
