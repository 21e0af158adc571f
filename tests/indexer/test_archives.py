from __future__ import annotations

import contextlib
import gc
import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from indexer import archives
from indexer.archived import members as limits
from indexer.archived import tars
from indexer.decode import content_hash, decode, open_file
from indexer.errors import DecodeFailed, OriginalChanged, OriginalMissing
from indexer.originals import check_unchanged, open_bytes, open_original
from indexer.uri import from_uri, to_uri

Files = dict[str, bytes]

TWO = {"a.txt": b"one", "folder/b.txt": b"seven and more"}
TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def red() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 2), "red").save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, files: Files, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, mode, format=form, encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(
    archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    archive.addfile(info, io.BytesIO(content))


def write_zip(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_parquet(path: Path, pictures: list[bytes | None], *, group: int = 1000) -> Path:
    keys = [f"{i:05d}" for i in range(len(pictures))]
    table = pa.table({"key": keys, "jpg": pa.array(pictures, pa.binary())})
    parquet.write_table(table, path, row_group_size=group)
    return path


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(DecodeFailed) as caught:
        call()
    assert "\n" not in caught.value.reason
    return caught.value.reason


def names(archive: Path) -> list[str]:
    return [member.name for member in archives.members(archive)]


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/dev/fd"))


# --- every kind


@pytest.mark.parametrize("suffix", [*TAR_MODES, ".zip"])
def test_members_are_read_where_they_lie(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    write_zip(path, TWO) if suffix == ".zip" else write_tar(path, TWO, TAR_MODES[suffix])
    assert [(member.name, member.size) for member in archives.members(path)] == [("a.txt", 3), ("folder/b.txt", 14)]
    assert [archives.read(path / name) for name in ("folder/b.txt", "a.txt")] == [b"seven and more", b"one"]
    assert archives.stamp(path / "folder/b.txt") == (14, path.stat().st_mtime_ns)
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_of_a_parquet_file_is_a_member(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "some.parquet", [b"one", None, b"three"])
    assert [(member.name, member.size) for member in archives.members(path)] == [("jpg/00000", 3), ("jpg/00002", 5)]
    assert archives.read(path / "jpg" / "00002") == b"three"
    assert archives.stamp(path / "jpg" / "00000") == (3, path.stat().st_mtime_ns)


@pytest.mark.parametrize("group", [1000, 50, 7])
def test_rows_are_found_in_any_order_and_by_many_threads(tmp_path: Path, group: int) -> None:
    contents: list[bytes | None] = [b"%d" % i for i in range(300)]
    path = write_parquet(tmp_path / "some.parquet", contents, group=group)
    order = [(i * 77) % 300 for i in range(300)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda i: archives.read(path / f"jpg/{i:05d}"), order)) == [contents[i] for i in order]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts the bytes that are read")
def test_a_row_is_read_without_the_whole_file(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "some.parquet", [os.urandom(20_000) for _ in range(1000)], group=100)
    archives.read(path / "jpg/00000")
    before = bytes_read()
    archives.read(path / "jpg/00950")
    read = bytes_read() - before
    assert 0 < read < path.stat().st_size / 5


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_rows_whose_keys_are_no_names_of_their_own_are_numbered(tmp_path: Path) -> None:
    for number, keys in enumerate((["a", "a"], ["a", None], ["a", "../b"], ["a", "/b"], ["a", "b//c"], ["a", ""])):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(pa.table({"key": keys, "png": [b"one", b"two"]}), path)
        assert names(path) == ["png/0", "png/1"]


def test_objects_of_bytes_and_path_are_pictures_named_by_their_paths(tmp_path: Path) -> None:
    pictures = [
        {"bytes": b"one", "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        {"bytes": b"two", "path": "c.png"},
    ]
    parquet.write_table(pa.table({"image": pictures}), tmp_path / "some.parquet")
    assert names(tmp_path / "some.parquet") == ["image/a.png", "image/c.png"]
    assert archives.read(tmp_path / "some.parquet" / "image" / "c.png") == b"two"


def test_a_path_is_parted_at_the_archive(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "some.tar", TWO)
    (tmp_path / "plain.txt").write_text("no archive")
    assert archives.split(path / "folder" / "b.txt") == (path, "folder/b.txt")
    assert archives.split(path) is None
    assert archives.split(tmp_path / "plain.txt" / "a") is None
    assert archives.split(tmp_path / "gone.tar" / "a") is None
    (tmp_path / "folder.tar").mkdir()
    assert archives.split(tmp_path / "folder.tar" / "a") is None


def test_names_survive_the_way_to_a_uri_and_back(tmp_path: Path) -> None:
    files = {"new\nline 100%.txt": b"one", "b\udcff.txt": b"two", "é/日本.txt": b"three"}
    path = write_tar(tmp_path / "some.tar", files)
    assert [archives.read(from_uri(to_uri(path / name))) for name in files] == [b"one", b"two", b"three"]


def test_a_zip_without_the_sign_for_utf8_may_hold_it_nevertheless(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "some.zip", {"xx.txt": b"one"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"xx.txt", "é.txt".encode()))
    assert names(path) == ["é.txt"]
    path = write_zip(tmp_path / "old.zip", {"x.txt": b"one"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"x.txt", b"\x82.txt"))
    assert names(path) == ["é.txt"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_form_of_tar(tmp_path: Path, form: int) -> None:
    name = f"{'f' * 90}/{'n' * 90}.jpg"
    path = write_tar(tmp_path / "some.tar", {name: b"one", "after.jpg": b"two"}, form=form)
    assert [archives.read(path / one) for one in names(path)] == [b"one", b"two"]
    assert names(path) == [name, "after.jpg"]


def test_a_hard_link_is_the_earlier_member(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "./a.txt", b"one")
        add(archive, "./b.txt", kind=tarfile.LNKTYPE, link="./a.txt")
    assert archives.read(path / "b.txt") == b"one"


def test_the_later_of_two_members_of_one_name_counts(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a.txt", b"one")
        add(archive, "a.txt", b"later")
    assert names(path) == ["a.txt", "a.txt"]
    assert archives.read(path / "a.txt") == b"later"


# --- what is missing, changed or refused


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "some.tar", TWO)
    assert reason(lambda: archives.read(path / "c.txt")) == "unreadable: no such member in some.tar"
    assert reason(lambda: archives.read(tmp_path / "gone.tar" / "c.txt")) == "unreadable: no such file or directory"
    assert reason(lambda: archives.members(tmp_path / "gone.tar")) == "unreadable: no such file or directory"
    for missing in (path / "c.txt", tmp_path / "gone.tar" / "c.txt"):
        with pytest.raises(FileNotFoundError):
            archives.stamp(missing)


def test_an_archive_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "some.tar", {"a.txt": b"one", "b.txt": b"two"})
    date = path.stat().st_mtime_ns
    assert archives.read(path / "b.txt") == b"two"
    other = write_tar(tmp_path / "other.tar", {"b.txt": b"new", "a.txt": b"old"})
    os.utime(other, ns=(date, date))
    other.replace(path)  # of the same size and date, but another file
    assert archives.read(path / "b.txt") == b"new"
    path.unlink()
    assert reason(lambda: archives.read(path / "b.txt")) == "unreadable: no such file or directory"


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/etc/passwd", "."])
def test_an_archive_with_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    sentence = f"the member {name!r} is not named below the archive; pack it with relative names"
    path = write_tar(tmp_path / "some.tar", {"a.jpg": b"one", name: b"two"})
    assert reason(lambda: archives.read(path / "a.jpg")) == sentence
    assert reason(lambda: archives.members(write_zip(tmp_path / "some.zip", {name: b"one"}))) == sentence


def test_links_devices_and_pipes_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "folder", kind=tarfile.DIRTYPE)
        add(archive, "folder/link.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add(archive, "hard.jpg", kind=tarfile.LNKTYPE, link="/etc/passwd")
        add(archive, "device.jpg", kind=tarfile.CHRTYPE)
        add(archive, "pipe.jpg", kind=tarfile.FIFOTYPE)
        add(archive, "last.jpg", b"one")
    assert names(path) == ["folder/link.jpg", "hard.jpg", "last.jpg"]
    assert archives.read(path / "last.jpg") == b"one"
    for name in ("folder/link.jpg", "hard.jpg"):
        assert reason(lambda name=name: archives.read(path / name)) == "a link in an archive, which is not followed"  # type: ignore[misc]


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert reason(lambda: archives.read(path / "link.jpg")) == "a link in an archive, which is not followed"


def test_an_encrypted_member_and_a_rare_method_are_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "some.zip", {"a.txt": b"one"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert reason(lambda: archives.read(path / "a.txt")) == "encrypted in its archive"
    rare = write_zip(tmp_path / "rare.zip", {"a.txt": b"one"}, zipfile.ZIP_LZMA)
    assert "compressed by method 14" in reason(lambda: archives.read(rare / "a.txt"))


def test_a_zip_bomb_is_noticed_without_being_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "some.zip", {"a.txt": bytes(50_000_000)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 24, 10)  # the directory says ten bytes
    path.write_bytes(content)
    assert reason(lambda: archives.read(path / "a.txt")) == "damaged: the archive does not hold what its directory says"
    honest = write_zip(tmp_path / "honest.zip", {"a.txt": bytes(5000)})
    monkeypatch.setattr(limits, "MEMBER_LIMIT", 1000)
    assert reason(lambda: archives.read(honest / "a.txt")) == "too large: 5000 bytes in an archive, the limit is 1000"


def test_a_tar_bomb_is_not_unpacked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "UNPACKED_LIMIT", 1 << 20)
    path = tmp_path / "some.tgz"
    with gzip.open(path, "wb") as file:
        file.write(bytes(10 << 20))
    assert reason(lambda: archives.members(path)) == "too large: the archive unpacks to more than 1048576 bytes"


def test_a_header_that_claims_all_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert reason(lambda: archives.members(path)).startswith("damaged: a header of 8589934592 bytes")


def test_many_parquet_files_are_not_all_held_open(tmp_path: Path) -> None:
    for number in range(150):
        path = write_parquet(tmp_path / f"{number}.parquet", [b"one"])
        assert archives.read(path / "jpg" / "00000") == b"one"
    held = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert 0 < sum(name.suffix == ".parquet" for name in held) < 100


@pytest.mark.parametrize("suffix", [*TAR_MODES, ".zip", ".parquet"])
def test_whatever_is_cut_off_or_overwritten_gives_a_reason(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    files = {f"{i}.txt": os.urandom(300) for i in range(8)}
    if suffix == ".parquet":
        write_parquet(path, list(files.values()))
    elif suffix == ".zip":
        write_zip(path, files)
    else:
        write_tar(path, files, TAR_MODES[suffix])
    whole = path.read_bytes()
    end = 8 * 1024 if suffix == ".tar" else len(whole)  # only zeros follow in a tar
    for cut in (0, 1, 4, 100, 511, 1024, end // 3, end // 2, end - 300, end - 9, end - 1):
        path.write_bytes(whole[:cut])
        assert reason(lambda: archives.members(path)).startswith(("truncated", "damaged"))
    for place in range(0, end, 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(
            DecodeFailed
        ):  # damage that no checksum covers may go unnoticed; nothing else may come
            for member in archives.members(path):
                archives.read(path / member.name)


def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "some.tar", {"a.txt": b"one", "b.txt": b"two", "c.txt": b"three"})
    content = bytearray(path.read_bytes())
    content[1024] ^= 1
    path.write_bytes(content)
    assert reason(lambda: archives.members(path)) == "damaged: no header at byte 1024 of the archive"


def test_a_file_that_is_no_archive_says_so(tmp_path: Path) -> None:
    for suffix, said in ((".tar", "no tar archive"), (".zip", "no zip archive"), (".parquet", "no parquet file")):
        (tmp_path / f"some{suffix}").write_bytes(b"hello " * 200)
        assert said in reason(lambda suffix=suffix: archives.members(tmp_path / f"some{suffix}"))  # type: ignore[misc]


def test_an_archive_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "some.tar")
    assert reason(lambda: archives.members(tmp_path / "some.tar")) == "unreadable: not a regular file"


# --- threads and descriptors


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip", ".parquet"])
def test_many_threads_read_one_archive_and_leave_nothing_open(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    files = {f"jpg/{i:05d}": os.urandom(200 + i) for i in range(200)}
    if suffix == ".parquet":
        write_parquet(path, list(files.values()), group=64)
    elif suffix == ".zip":
        write_zip(path, files)
    else:
        write_tar(path, files, TAR_MODES[suffix])
    archives.forget()
    before = open_files()
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda name: archives.read(path / name), list(files) * 3))
    assert read == list(files.values()) * 3
    archives.forget()
    assert open_files() <= before


def test_an_archive_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "some.tgz", TWO, "w:gz")
    looked = []
    unpacked = tars._unpacked
    monkeypatch.setattr(tars, "_unpacked", lambda file: looked.append(threading.get_ident()) or unpacked(file))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(archives.read, [path / "a.txt"] * 40)) == [b"one"] * 40
    assert len(looked) == 1


def test_few_unpacked_archives_are_kept(tmp_path: Path) -> None:
    archives.forget()
    before = open_files()
    for number in range(30):
        assert archives.read(write_tar(tmp_path / f"{number}.tgz", TWO, "w:gz") / "a.txt") == b"one"
    assert open_files() - before <= 10
    archives.forget()


# --- what is built on it


@pytest.fixture(params=[".tar", ".tar.xz", ".zip", ".parquet"])
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"some{request.param}"
    if request.param == ".parquet":
        return write_parquet(path, [red()]) / "jpg" / "00000"
    write = write_zip(path, {"a.png": red()}) if request.param == ".zip" else None
    return (write or write_tar(path, {"a.png": red()}, TAR_MODES[request.param])) / "a.png"


def test_a_picture_in_an_archive_is_decoded_and_hashed_like_a_file(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(red())
    assert decode(picture).getpixel((0, 0)) == (255, 0, 0)
    assert content_hash(picture) == content_hash(tmp_path / "plain.png")


def test_an_original_in_an_archive_is_opened_while_the_archive_is_the_same(picture: Path) -> None:
    size, date = archives.stamp(picture)
    uri, archive = to_uri(picture), (archives.split(picture) or (picture, ""))[0]
    check_unchanged(uri, size=size, mtime_ns=date)
    assert open_original(uri, size=size, mtime_ns=date).size == (4, 2)
    with open_bytes(uri, size=size, mtime_ns=date) as file:
        assert file.read() == red()
    with pytest.raises(OriginalChanged):
        open_original(uri, size=size + 1, mtime_ns=date)
    with pytest.raises(OriginalChanged):
        open_bytes(uri, size=size + 1, mtime_ns=date)
    os.utime(archive, ns=(date + 1, date + 1))
    for opened in (check_unchanged, open_original, open_bytes):
        with pytest.raises(OriginalChanged):
            opened(uri, size=size, mtime_ns=date)  # type: ignore[operator]
    archive.unlink()
    for opened in (check_unchanged, open_original, open_bytes):
        with pytest.raises(OriginalMissing):
            opened(uri, size=size, mtime_ns=date)  # type: ignore[operator]


def test_a_plain_file_is_opened_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(red())
    status = (tmp_path / "a.png").stat()
    with open_bytes(to_uri(tmp_path / "a.png"), size=status.st_size, mtime_ns=status.st_mtime_ns) as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == red()
    assert reason(lambda: open_file(tmp_path / "a.png" / "b.png")) == "unreadable: not a directory"
    with pytest.raises(OriginalMissing):
        check_unchanged(to_uri(tmp_path / "a.png" / "b.png"), size=1, mtime_ns=1)


def test_xz_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "some.txz").write_bytes(lzma.compress(bytes(10_000))[:-20])
    assert reason(lambda: archives.members(tmp_path / "some.txz")) == "truncated: the archive ends early"


# --- large members

LARGE = 48 << 20
LITTLE = 8 << 20


@pytest.fixture(params=["stored.zip", "deflated.zip", "plain.tar", "packed.tgz"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A member of 48 MiB of zeros."""
    path = tmp_path / request.param
    if path.suffix == ".zip":
        method = zipfile.ZIP_STORED if path.stem == "stored" else zipfile.ZIP_DEFLATED
        return write_zip(path, {"a.png": bytes(LARGE)}, method) / "a.png"
    return write_tar(path, {"a.png": bytes(LARGE)}, TAR_MODES[path.suffix]) / "a.png"


def test_a_large_member_is_not_held_as_a_whole_for_its_hash(large: Path) -> None:
    archives.members(large.parent)
    tracemalloc.start()
    try:
        found = content_hash(large)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == hashlib.sha256(bytes(LARGE)).hexdigest()
    assert peak < LITTLE


def test_the_hash_of_a_damaged_member_is_refused_at_its_end(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "some.zip", {"a.txt": os.urandom(3 << 20)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[2 << 20] ^= 1
    path.write_bytes(content)
    assert reason(lambda: content_hash(path / "a.txt")) == "damaged: the archive does not hold what its directory says"
    with open(write_tar(tmp_path / "some.tar", {"a.txt": bytes(3 << 20)}), "r+b") as file:
        index = tars.TarIndex(file)
        file.truncate(2 << 20)
        assert reason(lambda: list(index.chunks(file.fileno(), "a.txt"))) == "truncated: the archive ends early"
    assert reason(lambda: content_hash(path / "b.txt")) == "unreadable: no such member in some.zip"


def test_members_are_refused_that_no_picture_file_is_as_large_as(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    info = tarfile.TarInfo("a.png")
    info.size = (256 << 20) + 1
    with open(path, "wb") as file:
        file.write(info.tobuf())
        file.truncate(512 + (257 << 20))
    said = "too large: 268435457 bytes in an archive, the limit is 268435456"
    assert [reason(lambda: content_hash(path / "a.png")), reason(lambda: decode(path / "a.png"))] == [said, said]


@pytest.mark.parametrize("size", [0, 1, 999, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_parts_put_together_are_the_member(tmp_path: Path, size: int) -> None:
    files = {"a": ((os.urandom(700) + bytes(4000)) * (size // 4700 + 1))[:size]}
    for path in (write_zip(tmp_path / "a.zip", files), write_tar(tmp_path / "a.tar", files)):
        assert b"".join(archives.chunks(path / "a")) == archives.read(path / "a") == files["a"]
