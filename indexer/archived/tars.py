"""Tar archives, plain or compressed as a whole: where every member lies, and reading it there.

The format is POSIX.1-2017's ustar and pax with GNU's long names and base-256 numbers. The headers are read here and not
with `tarfile`, which takes a damaged header for the end of the archive and believes the length of an extended one; both
would lose pictures silently or let a small file claim all memory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from indexer.archived.members import CHUNK, ENDS_EARLY, Member, Named, chunks_at, name_below, read_at
from indexer.errors import DecodeFailed

BLOCK = 512
HEADER_LIMIT = 1 << 20
"""Bytes that an extended header may have: long names and the like."""

UNPACKED_LIMIT, UNPACKED_TIMES = 1 << 30, 20
"""A compressed archive may unpack to the greater of this many bytes and this many times its size.

Pictures hardly shrink; a bomb grows a thousandfold."""

UNPACKED_WEIGHT = 100_000
"""What an unpacked archive weighs at least among the remembered ones: as many members."""

_EXTENDS_NEXT, _EXTENDS_ALL = (b"L", b"K", b"x", b"X"), b"g"
_LINKS = (b"1", b"2")
# Devices, folders and pipes; lists of folders, parts of files and labels of volumes.
_PASSED_OVER = (b"3", b"4", b"5", b"6", b"D", b"M", b"N", b"V")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_COMPRESSED: tuple[tuple[bytes, Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)


@dataclass(frozen=True, slots=True)
class TarMember(Member):
    """A member whose content begins at byte `start` of the unpacked archive."""

    start: int = 0


class TarIndex(Named[TarMember]):
    """What a tar archive holds.

    Inside a compressed archive there is no going to a place, so it is unpacked once, as one file, into an unnamed
    temporary one that the system takes back when we end, however we end. Reading from the beginning for each picture
    would cost the square of their number.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._unpacked = _unpacked(file)
        if self._unpacked is not None:
            weakref.finalize(self, self._unpacked.close)
        super().__init__(_listed(_walk((self._unpacked or file).fileno())))
        if self._unpacked is not None:
            self.weight = max(self.weight, UNPACKED_WEIGHT)

    def read(self, file: int, name: str) -> bytes:
        """Read a member through the archive's descriptor; KeyError, or DecodeFailed with a reason."""
        member = self.readable(name)
        content = read_at(self._lies_in(file), member.start, member.size)
        if len(content) < member.size:
            raise DecodeFailed(ENDS_EARLY)
        return content

    def chunks(self, file: int, name: str) -> Iterator[bytes]:
        """Read a member part by part, as `read` does."""
        member = self.readable(name)
        missing = member.size
        for chunk in chunks_at(self._lies_in(file), member.start, member.size):
            missing -= len(chunk)
            yield chunk
        if missing:
            raise DecodeFailed(ENDS_EARLY)

    def _lies_in(self, file: int) -> int:
        return self._unpacked.fileno() if self._unpacked else file


# --- headers


@dataclass
class _Header:
    """A header: what it is of, the member's name, what it links to, and where its content lies."""

    kind: bytes
    name: bytes
    link: bytes
    size: int
    start: int
    is_sparse: bool = False


def _listed(headers: Iterator[_Header]) -> list[TarMember]:
    """Make members of headers; a hard link is the earlier member that it names."""
    members: dict[str, TarMember] = {}
    listed = []
    for header in headers:
        name = name_below(os.fsdecode(header.name))
        first = members.get(os.path.normpath(os.fsdecode(header.link))) if header.kind == b"1" else None
        if first is not None:
            member = TarMember(name, first.size, first.refused, first.start)
        elif header.kind in _LINKS:
            member = TarMember(name, 0, "a link in an archive, which is not followed")
        elif header.is_sparse:
            member = TarMember(name, 0, "a sparse file in an archive")
        else:
            member = TarMember(name, header.size, "", header.start)
        members[name] = member
        listed.append(member)
    return listed


def _walk(file: int) -> Iterator[_Header]:
    """Go from header to header and give those of files and links, with what the headers before them say of them."""
    end = os.fstat(file).st_size
    place, said, said_of_all = 0, dict[bytes, bytes](), dict[bytes, bytes]()
    while (block := read_at(file, place, BLOCK)).strip(b"\0"):
        header = _header(block, place)
        if header.kind == _EXTENDS_ALL:
            said_of_all |= _extension(file, header)
        elif header.kind in _EXTENDS_NEXT:
            said |= _extension(file, header)
        else:
            _extend(header, said_of_all | said)
            said = {}
            if header.kind == b"S":
                _pass_sparse_map(file, block, header)
        length = 0 if header.kind in _WITHOUT_CONTENT else header.size
        place = header.start + -(-length // BLOCK) * BLOCK
        if header.start + length > end:
            raise DecodeFailed(ENDS_EARLY)
        is_folder = header.name.endswith(b"/") and header.kind not in _LINKS
        if not (is_folder or header.kind in (*_PASSED_OVER, *_EXTENDS_NEXT, _EXTENDS_ALL)):
            yield header
    if not block:  # a block of zeros ends an archive; without it, this may be half of one
        raise DecodeFailed(ENDS_EARLY if place else "damaged: no tar archive")


def _header(block: bytes, place: int) -> _Header:
    if len(block) < BLOCK:
        raise DecodeFailed(ENDS_EARLY if place else "damaged: no tar archive")
    if not _is_summed(block):
        raise DecodeFailed(f"damaged: no header at byte {place} of the archive" if place else "damaged: no tar archive")
    name, prefix = _closed(block[:100]), _closed(block[345:500])
    if prefix and block[257:263] == b"ustar\0":
        name = prefix + b"/" + name
    kind, size = block[156:157], _number(block[124:136])
    if size < 0:
        raise DecodeFailed(f"damaged: a size below zero at byte {place} of the archive")
    return _Header(kind, name, _closed(block[157:257]), size, place + BLOCK, kind == b"S")


def _is_summed(block: bytes) -> bool:
    """Whether a header's checksum is right: the sum of its bytes, of which some old writers thought as signed."""
    said = _number(block[148:156])
    found = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    return said == found or said == found - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def _closed(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Read a number: octal digits, or GNU's base 256 where the first bit is set; -1 where it is neither."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:]) if field[0] == 0x80 else -1
    digits = _closed(field).strip()
    return int(digits or b"0", 8) if not digits.strip(b"01234567") else -1


def _extension(file: int, header: _Header) -> dict[bytes, bytes]:
    """Read what a header says of the next one: GNU's long name or link, or pax's records."""
    if header.size > HEADER_LIMIT:
        raise DecodeFailed(f"damaged: a header of {header.size} bytes in the archive, the limit is {HEADER_LIMIT}")
    content = read_at(file, header.start, header.size)
    match header.kind:
        case b"L":
            return {b"path": _closed(content)}
        case b"K":
            return {b"linkpath": _closed(content)}
    return _pax_records(content)


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """Read records `length keyword=value\\n`, whose length counts the record as a whole."""
    records = {}
    while content.strip(b"\0"):
        length, _, _ = content[:20].partition(b" ")
        end = int(length) if length.isdigit() else 0
        keyword, sign, value = content[len(length) + 1 : end - 1].partition(b"=")
        if not sign or content[end - 1 : end] != b"\n":
            raise DecodeFailed("damaged: an extended header of the archive cannot be read")
        records[keyword] = value
        content = content[end:]
    return records


def _extend(header: _Header, said: Mapping[bytes, bytes]) -> None:
    """Put what was said of a header into it; an empty value takes back what was said of all."""
    header.name = said.get(b"path") or header.name
    header.link = said.get(b"linkpath") or header.link
    if size := said.get(b"size"):
        if not size.isdigit() or len(size) > 20:
            raise DecodeFailed("damaged: an extended header of the archive cannot be read")
        header.size = int(size)
    if any(keyword.startswith(b"GNU.sparse.") for keyword in said):
        header.is_sparse, header.name = True, said.get(b"GNU.sparse.name") or header.name


def _pass_sparse_map(file: int, block: bytes, header: _Header) -> None:
    """Go past the blocks between an old sparse file's header and its content: each says whether one more follows."""
    follows = block[482]
    while follows:
        block = read_at(file, header.start, BLOCK)
        if len(block) < BLOCK:
            raise DecodeFailed(ENDS_EARLY)
        header.start += BLOCK
        follows = block[504]


# --- compressed as a whole


def _unpacked(file: BinaryIO) -> BinaryIO | None:
    """Give a temporary file with what a compressed archive unpacks to; None for a plain one."""
    start = read_at(file.fileno(), 0, 6)
    opener = next((opener for signature, opener in _COMPRESSED if start.startswith(signature)), None)
    if opener is None:
        return None
    limit = max(UNPACKED_LIMIT, UNPACKED_TIMES * os.fstat(file.fileno()).st_size)
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the index)
    try:
        file.seek(0)
        with opener(file) as content:
            while chunk := content.read(CHUNK):
                unpacked.write(chunk)
                if unpacked.tell() > limit:
                    raise DecodeFailed(f"too large: the archive unpacks to more than {limit} bytes")
        unpacked.flush()
    except BaseException as error:
        unpacked.close()
        raise _damage(error) from error
    return unpacked


def _damage(error: BaseException) -> BaseException:
    match error:
        case EOFError():
            return DecodeFailed(ENDS_EARLY)
        case gzip.BadGzipFile() | zlib.error() | lzma.LZMAError():
            return DecodeFailed("damaged: the archive cannot be unpacked")
        case OSError(errno=None):  # bzip2's way of saying the same
            return DecodeFailed("damaged: the archive cannot be unpacked")
    return error
