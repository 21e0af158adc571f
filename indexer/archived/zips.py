"""Zip archives: what the directory at their end says, and reading a member that is stored or deflated."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from indexer.archived.members import CHUNK, ENDS_EARLY, Member, Named, chunks_at, name_below, read_at
from indexer.errors import DecodeFailed

_ENCRYPTED, _UTF8 = 0x1, 0x800
_LOCAL = struct.Struct("<4s22xHH")
"""What stands before a member's content: the signature, and at the end how long its name and an extra field are."""

_DAMAGED = "damaged: the archive does not hold what its directory says"


@dataclass(frozen=True, slots=True)
class ZipMember(Member):
    """A member whose own header is at byte `start`, `packed` bytes after it, with the CRC-32 of what they unpack to."""

    start: int = 0
    packed: int = 0
    is_deflated: bool = False
    crc: int = 0


class ZipIndex(Named[ZipMember]):
    """What a zip archive holds. `zipfile` reads the directory once; members are read here, which threads may do."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            with zipfile.ZipFile(file) as archive:
                listed = archive.infolist()
        except MemoryError:
            raise
        except Exception as error:  # damaged ones raise BadZipFile, but also what struct, codecs and seek raise
            raise DecodeFailed("damaged: no zip archive, or one that ends early") from error
        size = os.fstat(file.fileno()).st_size
        if not all(0 <= info.header_offset <= size and info.compress_size <= size for info in listed):
            raise DecodeFailed(_DAMAGED)
        super().__init__([_member(info) for info in listed if not info.orig_filename.endswith("/")])

    def read(self, file: int, name: str) -> bytes:
        """Read a member through the archive's descriptor; KeyError, or DecodeFailed with a reason."""
        return b"".join(self.chunks(file, name))

    def chunks(self, file: int, name: str) -> Iterator[bytes]:
        """Read a member part by part, as `read` does: only its end shows whether its checksum is right."""
        member = self.readable(name)
        header = read_at(file, member.start, _LOCAL.size)
        if len(header) < _LOCAL.size:
            raise DecodeFailed(ENDS_EARLY)
        signature, *lengths = _LOCAL.unpack(header)
        if signature != b"PK\3\4" or not (member.is_deflated or member.packed == member.size):
            raise DecodeFailed(_DAMAGED)
        packed = chunks_at(file, member.start + _LOCAL.size + sum(lengths), member.packed)
        size = checksum = 0
        for chunk in _inflated(packed, member.size) if member.is_deflated else packed:
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
            yield chunk
        if size != member.size or checksum != member.crc:
            raise DecodeFailed(_DAMAGED)


def _inflated(packed: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Unpack up to one byte more than there should be: a bomb is noticed without being let off."""
    unpacker, left = zlib.decompressobj(-zlib.MAX_WBITS), size + 1
    try:
        for rest in chain(packed, [b""]):  # what is left in the unpacker comes last
            while left and (chunk := unpacker.decompress(rest, min(CHUNK, left))):
                yield chunk
                rest, left = unpacker.unconsumed_tail, left - len(chunk)
            if unpacker.eof or not left:
                return
    except zlib.error as error:
        raise DecodeFailed(_DAMAGED) from error


def _member(info: zipfile.ZipInfo) -> ZipMember:
    return ZipMember(
        name=name_below(_name(info)),
        size=info.file_size,
        refused=_refused(info),
        start=info.header_offset,
        packed=info.compress_size,
        is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        crc=info.CRC,
    )


def _name(info: zipfile.ZipInfo) -> str:
    """Give a member's name. Without the sign for UTF-8 it should be in code page 437, but UTF-8 is common there too."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name


def _refused(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted in its archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link in an archive, which is not followed"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compressed by method {info.compress_type} in its archive; 0 (stored) and 8 (deflate) are read"
    return ""
