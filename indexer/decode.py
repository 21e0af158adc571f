"""One file to one picture: plain RGB as people see it, or `DecodeFailed` with a reason. Safe to call in threads."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path

import pi_heif
from PIL import Image, UnidentifiedImageError

from indexer import archives
from indexer.colour import as_seen
from indexer.errors import DecodeFailed
from indexer.files import open_regular
from indexer.files import unreadable as unreadable  # known by this name to those who read files here

PIXEL_LIMIT = 100_000_000
# Resizing a line of pixels needs memory by its length, however small the file.
SIDE_LIMIT = 100_000
THUMBNAIL_TYPE = "image/jpeg"

# Raster formats only: nothing that starts another program (PostScript), draws (WMF) or holds other files (IPTC, ICNS).
# TGA comes last because it has no signature.
FORMATS = [
    *("JPEG", "PNG", "WEBP", "GIF", "HEIF", "AVIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000"),  # JPEG covers MPO
    *("ICO", "PSD", "QOI", "DDS", "PCX", "SGI", "SUN", "TGA"),
]

# What a file starts with, the name that a person reads, and whether we read such files.
_SIGNATURES: tuple[tuple[bytes, str, bool], ...] = (
    (rb"\xff\xd8\xff", "JPEG", True),
    (rb"\x89PNG\r\n", "PNG", True),
    (rb"GIF8[79]a", "GIF", True),
    (rb"RIFF....WEBP", "WebP", True),
    (rb"....ftyp(he[iv][cmsx]|mif1|msf1)", "HEIC", True),
    (rb"....ftypavi[fs]", "AVIF", True),
    (rb"II[*+]\0|MM\0[*+]", "TIFF", True),
    (rb"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51", "JPEG 2000", True),
    (rb"8BPS", "Photoshop", True),
    (rb"%PDF", "PDF", False),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript", False),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg.*?>\s*)?<svg", "SVG", False),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", False),
    (rb"....ftyp|RIFF....AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xb3\xba]", "video", False),
    (rb"icns", "Apple icon", False),
)
_BOXED = re.compile(rb"....ftyp(he[iv][cmsx]|mif1|msf1|avi[fs])", re.DOTALL)
_BOX_HEADER = 8
_PICTURE_EXTENT = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)

pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
Image.init()

PICTURE_SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def decode(path: Path, *, pixel_limit: int = PIXEL_LIMIT, least_side: int | None = None) -> Image.Image:
    """Read a file as an upright RGB picture in sRGB on white, its first frame where it has many.

    Every failure, an unreadable file included, is `DecodeFailed`. A JPEG that is wanted for a small picture only may be
    given with fewer pixels, but not with a side below `least_side`: that takes half the time.
    """
    with open_file(path) as file:
        return decode_file(file, pixel_limit=pixel_limit, least_side=least_side)


def decode_bytes(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """Read the content of a file as `decode` reads the file."""
    return decode_file(BytesIO(data), pixel_limit=pixel_limit)


def check_bytes(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> None:
    """Raise DecodeFailed for the content of a file that is no picture by its beginning; nothing is decoded."""
    with _opened(BytesIO(data), pixel_limit):
        pass


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits; raises `DecodeFailed` where they cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except NotADirectoryError:  # as in open_file; a member is not held as a whole for its hash
        digest = hashlib.sha256()
        for chunk in archives.chunks(path):
            digest.update(chunk)
        return digest.hexdigest()
    except (OSError, ValueError) as error:
        raise DecodeFailed(unreadable(error)) from error


def thumbnail(image: Image.Image, *, side: int = 320, max_bytes: int = 20_000) -> bytes:
    """Shrink an RGB picture to fit a square and write it as JPEG, at the best quality that stays under `max_bytes`."""
    while True:
        scale = min(1.0, side / max(image.size))
        width, height = (max(1, round(length * scale)) for length in image.size)
        small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        for quality in (82, 70, 55, 40, 25):
            file = BytesIO()
            small.save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() <= max_bytes or side <= 16:
                return file.getvalue()
        side = side * 3 // 4


def open_file(path: Path) -> BufferedReader | BytesIO:
    """Open a regular file or a member of an archive; anything else is `DecodeFailed` at once, also an idle pipe."""
    try:
        return open_regular(path)
    except NotADirectoryError:  # the path goes on below a file, which may be an archive
        return BytesIO(archives.read(path))
    except (OSError, ValueError) as error:
        raise DecodeFailed(unreadable(error)) from error


def decode_file(
    file: BufferedReader | BytesIO, *, pixel_limit: int = PIXEL_LIMIT, least_side: int | None = None
) -> Image.Image:
    """Read an open file as `decode` reads one by its name."""
    with _opened(file, pixel_limit) as image:
        if least_side is not None:
            image.draft(None, (least_side, least_side))  # for JPEG; other formats have nothing of the kind
        image.load()
        return as_seen(image)


# --- decoding


@contextmanager
def _opened(file: BufferedReader | BytesIO, pixel_limit: int) -> Iterator[Image.Image]:
    """Open a picture of a size that we read; whatever is wrong with it, now or on reading it, is DecodeFailed."""
    _quiet_pillow()
    _let_pillow_open(pixel_limit)
    head = b""
    try:
        head = file.read(1024)
        _check_boxes(file, head, pixel_limit)
        _check_icon(file, head, pixel_limit)
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            _check_size(image.size, pixel_limit)
            yield image
    except DecodeFailed:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeFailed(f"too large: {_refused_size(error)} pixels, the limit is {pixel_limit}") from error
    except UnidentifiedImageError as error:
        raise DecodeFailed(_unidentified(head)) from error
    except Exception as error:  # damaged files make the plugins raise nearly everything
        raise DecodeFailed(_damage(error)) from error


def _check_size(size: tuple[int, int], pixel_limit: int) -> None:
    width, height = size
    if width * height > pixel_limit:
        raise DecodeFailed(f"too large: {width} x {height} pixels, the limit is {pixel_limit}")
    if max(size) > SIDE_LIMIT:
        raise DecodeFailed(f"too large: {width} x {height} pixels, a side may have {SIDE_LIMIT}")


def _let_pillow_open(pixel_limit: int) -> None:
    """Raise Pillow's own limit, which holds for the whole process, where the caller's is higher.

    It is never switched off: it guards what a file allocates before we see its size (GIF frames, WebP canvases, tiles).
    Pillow warns from MAX_IMAGE_PIXELS on and refuses from twice as many.
    """
    if Image.MAX_IMAGE_PIXELS is not None and pixel_limit > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixel_limit


def _refused_size(error: Image.DecompressionBombError) -> str:
    """Width and height of what Pillow refused: its message counts pixels only, the frame that raised it knows both."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    size = frame.f_locals.get("size")
    if isinstance(size, tuple):
        return " x ".join(str(length) for length in size)
    found = re.search(r"\d+", str(error))
    return found[0] if found else "too many"


def _check_boxes(file: BufferedReader | BytesIO, head: bytes, pixel_limit: int) -> None:
    """Check what the HEIC and AVIF decoders do not: that the file is all there, and how large its uncropped parts are.

    Both are a row of boxes: 4 bytes length, 4 bytes name, content. Unknown boxes end the walk, since some cameras
    append data of their own.
    """
    if not _BOXED.match(head):
        return
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start + _BOX_HEADER <= end:
        file.seek(start)
        header = file.read(2 * _BOX_HEADER)
        length, name = int.from_bytes(header[:4]), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:])
        if name not in (b"ftyp", b"meta", b"mdat", b"free", b"moov") or length < _BOX_HEADER:
            return
        if start + length > end:
            raise DecodeFailed("truncated: the file ends early")
        if name == b"meta":
            file.seek(start)
            for width, height in _PICTURE_EXTENT.findall(file.read(length)):
                _check_size((int.from_bytes(width), int.from_bytes(height)), pixel_limit)
        start += length


def _check_icon(file: BufferedReader | BytesIO, head: bytes, pixel_limit: int) -> None:
    """Check the PNGs in an icon, which may be larger than the icon says: Pillow decodes them on opening it.

    An icon is a header of 6 bytes, which ends in a count, and 16 bytes for each picture, which end in its place.
    """
    if not head.startswith(b"\0\0\1\0"):
        return
    file.seek(6)
    directory = file.read(16 * int.from_bytes(head[4:6], "little"))
    for entry in range(0, len(directory), 16):
        file.seek(int.from_bytes(directory[entry + 12 : entry + 16], "little"))
        start = file.read(24)
        if start.startswith(b"\x89PNG"):
            _check_size((int.from_bytes(start[16:20]), int.from_bytes(start[20:24])), pixel_limit)


# --- warnings

_PLUGINS = r"(PIL|pi_heif)\."
_quieting = threading.Lock()


def _quiet_pillow() -> None:
    """Make sure that Pillow's warnings about odd files go nowhere: the reason of a failure says what there is to say.

    A filter on the plugins' modules that stays in place. `catch_warnings` would not do: it swaps the filters of the
    whole process, and pictures are decoded in several threads. Whoever swaps them around us gets the filter again.
    """
    wanted: tuple[object, ...] = ("ignore", None, Warning, re.compile(_PLUGINS), 0)
    with _quieting:
        if tuple(warnings.filters[:1]) != (wanted,):
            warnings.filterwarnings("ignore", module=_PLUGINS)


# --- reasons


def _unidentified(head: bytes) -> str:
    if not head:
        return "empty file"
    for pattern, name, is_read in _SIGNATURES:
        if re.match(pattern, head, re.DOTALL):
            return f"damaged: starts like {name} but cannot be read" if is_read else f"unsupported format: {name}"
    return "not an image"


def _damage(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(error)
    if isinstance(error, MemoryError):
        return "too large: does not fit into memory"
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "truncated: the file ends early"
    return f"damaged: {' '.join(str(error).split())[:120] or type(error).__name__}"


def may_pass(reason: str) -> bool:
    """Say whether a reason lies in the surroundings and not in the content: permissions, limits, memory."""
    return reason.startswith(("unreadable", "too large", "cannot be resized"))
