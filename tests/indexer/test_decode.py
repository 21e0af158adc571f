from __future__ import annotations

import gc
import hashlib
import os
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from indexer.decode import THUMBNAIL_TYPE, content_hash, decode, decode_bytes, thumbnail
from indexer.errors import DecodeFailed

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
HEIC = Path(__file__).parent / "data" / "two_colours.heic"  # 64 x 48: left (200, 30, 30), right (30, 30, 200)


def to_bytes(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def noise(mode: str = "RGB", side: int = 64) -> Image.Image:
    return Image.effect_noise((side, side), 80).convert(mode)


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG written by hand, which may claim whatever size it likes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(DecodeFailed) as caught:
        decode_bytes(data, **options)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def near(image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int], within: int = 8) -> bool:
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    return all(abs(a - b) <= within for a, b in zip(found, colour, strict=True))


# --- formats


@pytest.mark.parametrize(
    "format_name", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000", "QOI", "TGA", "PCX", "SGI"]
)
def test_a_picture_is_read_from_its_format(format_name: str) -> None:
    image = Image.new("RGB", (64, 48), (200, 30, 30))
    image.paste((30, 30, 200), (32, 0, 64, 48))
    found = decode_bytes(to_bytes(image, format_name))
    assert type(found) is Image.Image
    assert (found.mode, found.size, found.info) == ("RGB", (64, 48), {})
    assert near(found, (8, 24), (200, 30, 30))
    assert near(found, (56, 24), (30, 30, 200))


def test_heic_is_read() -> None:
    found = decode(HEIC)
    assert (found.mode, found.size) == ("RGB", (64, 48))
    assert near(found, (8, 24), (200, 30, 30))
    assert near(found, (56, 24), (30, 30, 200))


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_of_many_frames_the_first_is_read(format_name: str) -> None:
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), BLUE)
    data = to_bytes(first, format_name, save_all=True, append_images=[second])
    assert near(decode_bytes(data), (8, 8), RED)


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    path.write_bytes(to_bytes(noise()))
    assert decode(path).tobytes() == decode_bytes(path.read_bytes()).tobytes()


# --- as people see it


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright)),
        (7, lambda upright: upright[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, 3)),
    ],
)
def test_each_of_eight_orientations_is_turned_upright(
    orientation: int, stored: Callable[[np.ndarray], np.ndarray], format_name: str
) -> None:
    upright = np.full((32, 48, 3), 255, np.uint8)
    upright[:16, :16] = RED  # the upper left corner
    upright[16:, :16] = BLUE  # the lower left one
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = to_bytes(Image.fromarray(np.ascontiguousarray(stored(upright))), format_name, exif=exif, quality=95)
    found = decode_bytes(data)
    assert found.size == (48, 32)
    assert near(found, (4, 4), RED, within=20)
    assert near(found, (4, 28), BLUE, within=20)
    assert near(found, (40, 4), WHITE, within=20)


def swapped_profile() -> bytes:
    """An sRGB profile in which the red and the blue primary have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, blue = tags[b"rXYZ"] + 4, tags[b"bXYZ"] + 4
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile)


def test_a_colour_profile_is_applied_and_dropped() -> None:
    data = to_bytes(Image.new("RGB", (8, 8), RED), icc_profile=swapped_profile())
    found = decode_bytes(data)
    assert near(found, (0, 0), BLUE, within=2)
    assert found.info == {}


def test_an_srgb_profile_changes_nothing() -> None:
    picture = noise("RGB")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode_bytes(to_bytes(picture, icc_profile=profile)).tobytes() == picture.tobytes()


@pytest.mark.parametrize("profile", [b"no profile at all", swapped_profile()[:200]])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    assert decode_bytes(to_bytes(Image.new("RGB", (8, 8), RED), icc_profile=profile)).getpixel((0, 0)) == RED


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_profile_for_another_colour_space_is_ignored(mode: str) -> None:
    grey = Image.new("RGB", (8, 8), (100, 100, 100)).convert(mode)
    found = decode_bytes(to_bytes(grey, "TIFF", icc_profile=swapped_profile()))
    assert near(found, (0, 0), (100, 100, 100), within=1)


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_transparency_shows_white(format_name: str) -> None:
    image = Image.new("RGBA", (32, 32), (*RED, 255))
    image.paste((0, 255, 0, 0), (16, 0, 32, 32))  # green that nobody is meant to see
    image.paste((0, 0, 0, 128), (0, 16, 16, 32))
    found = decode_bytes(to_bytes(image, format_name, lossless=True, quality=100))
    assert near(found, (4, 4), RED, within=12)
    assert near(found, (28, 4), WHITE, within=12)
    assert near(found, (4, 28), (127, 127, 127), within=12)


def test_grey_with_alpha_shows_white() -> None:
    assert decode_bytes(to_bytes(Image.new("LA", (2, 2), (0, 51)))).getpixel((0, 0)) == (204, 204, 204)


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_transparent_palette_entry_shows_white(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((3, 3), 1)
    found = decode_bytes(to_bytes(image, transparency=transparency))
    assert (found.getpixel((0, 0)), found.getpixel((3, 3))) == (RED, WHITE)


@pytest.mark.parametrize(("mode", "key"), [("L", 10), ("RGB", (10, 10, 10)), ("1", 0)])
def test_a_transparent_colour_shows_white(mode: str, key: int | tuple[int, int, int]) -> None:
    image = Image.new(mode, (4, 4), key)
    assert decode_bytes(to_bytes(image, transparency=key)).getpixel((0, 0)) == WHITE


def test_16_bit_grey_is_scaled() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = np.asarray(decode_bytes(to_bytes(Image.fromarray(values))))
    assert found[0, 0, 0] == 0
    assert found[15, 15, 0] == 255
    assert found.mean() == pytest.approx(127.5, abs=0.5)


@pytest.mark.parametrize("format_name", ["TIFF", "PPM"])
def test_16_bit_grey_is_scaled_in_other_formats(format_name: str) -> None:
    image = Image.fromarray(np.full((4, 4), 257 * 77, np.uint16))
    assert decode_bytes(to_bytes(image, format_name)).getpixel((0, 0)) == (77, 77, 77)


def test_16_bit_grey_of_either_byte_order_is_scaled() -> None:
    big = Image.frombytes("I;16B", (1, 1), struct.pack(">H", 257 * 77))
    assert decode_bytes(to_bytes(big, "TIFF")).getpixel((0, 0)) == (77, 77, 77)


def test_16_bit_grey_whose_zero_is_white_is_inverted() -> None:
    values = Image.fromarray(np.full((4, 4), 257 * 55, np.uint16))
    assert decode_bytes(to_bytes(values, "TIFF", tiffinfo={262: 0})).getpixel((0, 0)) == (200, 200, 200)


def test_a_transparent_value_of_16_bit_grey_shows_white() -> None:
    values = np.array([[1000, 1001]], np.uint16)
    data = to_bytes(Image.fromarray(values))
    end = data.index(b"IDAT") - 4
    key = b"tRNS" + struct.pack(">H", 1000)
    data = data[:end] + struct.pack(">I", 2) + key + struct.pack(">I", zlib.crc32(key)) + data[end:]
    assert np.asarray(decode_bytes(data))[0, :, 0].tolist() == [255, 4]


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),
        ([0.0, 51.0, 255.0], [0, 51, 255]),
        ([0.0, 257.0 * 51, 65535.0], [0, 51, 255]),
        ([-2.0, 0.0, 8.0], [0, 51, 255]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([0.0, np.inf, 1.0], [0, 255, 255]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([5e9, 5e9, 5e9], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_what_they_hold(values: list[float], greys: list[int]) -> None:
    data = to_bytes(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert np.asarray(decode_bytes(data))[0, :, 0].tolist() == greys


def test_32_bit_integers_are_scaled_by_what_they_hold() -> None:
    data = to_bytes(Image.fromarray(np.array([[0, 200_000, 1_000_000]], np.int32)), "TIFF")
    assert np.asarray(decode_bytes(data))[0, :, 0].tolist() == [0, 51, 255]


def test_16_bit_colour_comes_in_8() -> None:
    data = png(1, 1, b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x0001), depth=16)
    assert decode_bytes(data).getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_comes_out_near_its_rgb_twin(format_name: str) -> None:
    twin = Image.new("RGB", (16, 16), (200, 100, 50))
    assert near(decode_bytes(to_bytes(twin.convert("CMYK"), format_name)), (8, 8), (200, 100, 50))


def test_lab_comes_out_near_its_rgb_twin() -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (4, 4), (200, 100, 50)), to_lab)
    assert lab is not None
    assert near(decode_bytes(to_bytes(lab, "TIFF")), (0, 0), (200, 100, 50), within=3)


def test_one_bit_is_black_and_white() -> None:
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    assert np.asarray(decode_bytes(to_bytes(image)))[0, :, 0].tolist() == [0, 255]


# --- what fails, and its reason


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"no picture, just words", "not an image"),
        (bytes(1000), "not an image"),
        (b"%PDF-1.7 ...", "unsupported format: PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported format: PostScript"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported format: SVG"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "unsupported format: video"),
        (b"GIF89a\0\0\0\0and then nothing", "damaged: starts like GIF but cannot be read"),
    ],
)
def test_a_failure_says_why(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize(
    "format_name", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000", "QOI", "TGA", "PCX", "SGI"]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_fails(format_name: str, share: float) -> None:
    data = to_bytes(noise(), format_name)
    assert reason(data[: int(share * len(data))]).startswith(("truncated: ", "damaged: "))


def test_a_truncated_jpeg_is_called_so() -> None:
    data = to_bytes(noise(), "JPEG")
    assert reason(data[: len(data) // 2]) == "truncated: the file ends early"


def test_a_heic_without_its_last_byte_fails() -> None:
    assert reason(HEIC.read_bytes()[:-1]) == "truncated: the file ends early"


def test_a_heic_with_bytes_behind_it_is_read() -> None:
    assert decode_bytes(HEIC.read_bytes() + b"\0\0\1\0notes of the camera").size == (64, 48)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_huge_header_fails_before_anything_is_decoded(side: int) -> None:
    assert reason(png(side, side, b"")) == f"too large: {side} x {side} pixels, the limit is 100000000"


def test_the_pixel_limit_is_the_callers() -> None:
    data = to_bytes(noise())
    assert decode_bytes(data, pixel_limit=64 * 64).size == (64, 64)
    assert reason(data, pixel_limit=64 * 64 - 1) == "too large: 64 x 64 pixels, the limit is 4095"


def test_a_limit_above_that_of_the_decoder_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_bytes(to_bytes(noise()), pixel_limit=64 * 64).size == (64, 64)


def test_a_first_frame_larger_than_its_gif_counts() -> None:
    small = to_bytes(Image.new("L", (4, 4)), "GIF")
    at = small.index(b"\x2c\0\0\0\0\4\0\4\0") + 5
    data = small[:at] + struct.pack("<HH", 60_000, 50_000) + small[at + 4 :]
    assert reason(data) == "too large: 60000 x 50000 pixels, the limit is 100000000"


def test_a_picture_larger_than_its_icon_counts() -> None:
    inner = png(11_000, 11_000, b"")
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    assert reason(struct.pack("<HHH", 0, 1, 1) + entry + inner).startswith("too large: 11000 x 11000 pixels")


def test_a_picture_larger_than_what_a_heic_shows_of_it_counts() -> None:
    parts = box(b"ispe", struct.pack(">III", 0, 16, 16)) + box(b"ispe", struct.pack(">III", 0, 40_000, 40_000))
    data = box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", parts)
    assert reason(data) == "too large: 40000 x 40000 pixels, the limit is 100000000"


def test_corrupt_exif_costs_no_picture() -> None:
    for exif in (b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0junk", b"Exif\0\0MM\0*\xff\xff\xff\xff"):
        assert decode_bytes(to_bytes(Image.new("RGB", (8, 8), RED), "JPEG", exif=exif)).size == (8, 8)


def test_no_warning_leaks_even_where_warnings_are_errors() -> None:
    data = to_bytes(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("error")
        decode_bytes(data)
        warnings.simplefilter("always")
        decode_bytes(data)
    assert leaked == []


# --- files


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DecodeFailed, match="unreadable: no such file or directory"):
        decode(tmp_path / "gone.jpg")


def test_a_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DecodeFailed, match="unreadable: is a directory"):
        decode(tmp_path)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DecodeFailed, match="unreadable: not a regular file"):
        decode(tmp_path / "pipe.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "closed.png"
    path.write_bytes(to_bytes(noise()))
    path.chmod(0)
    with pytest.raises(DecodeFailed, match="unreadable: permission denied"):
        decode(path)


def test_names_that_are_not_utf_8_are_opened(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9\n.png")))
    path.write_bytes(to_bytes(noise()))
    assert decode(path).size == (64, 64)


def test_no_file_stays_open(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gif", tmp_path / "bad.gif"
    good.write_bytes(to_bytes(noise("P"), "GIF", save_all=True, append_images=[Image.new("P", (64, 64))]))
    bad.write_bytes(good.read_bytes()[:200])
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    decode(good)
    with pytest.raises(DecodeFailed):
        decode(bad)
    assert len(os.listdir("/proc/self/fd")) == before


def test_equal_bytes_have_equal_hashes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).write_bytes(content)
    assert content_hash(tmp_path / "a.jpg") == content_hash(tmp_path / "b.png") == hashlib.sha256(content).hexdigest()
    with pytest.raises(DecodeFailed, match="unreadable: "):
        content_hash(tmp_path / "gone.jpg")


# --- threads


def test_threads_decode_what_one_decodes() -> None:
    profile = swapped_profile()
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"  # warns
    files = [to_bytes(noise(), name) for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")]
    files += [to_bytes(noise(), icc_profile=profile), to_bytes(noise("RGB"), "JPEG", exif=exif), HEIC.read_bytes()]
    alone = [decode_bytes(data).tobytes() for data in files]
    stop = threading.Event()

    def swap_filters() -> None:
        while not stop.is_set():
            with warnings.catch_warnings():
                time.sleep(0.001)

    swapper = threading.Thread(target=swap_filters)
    swapper.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            together = [image.tobytes() for image in pool.map(decode_bytes, files * 20)]
    finally:
        stop.set()
        swapper.join()
    assert together == alone * 20


# --- thumbnails


def test_a_thumbnail_keeps_the_shape_and_fits_the_square() -> None:
    small = decode_bytes(thumbnail(Image.new("RGB", (1000, 500), RED)))
    assert small.size == (320, 160)
    assert near(small, (100, 100), RED)
    assert THUMBNAIL_TYPE == "image/jpeg"


def test_a_small_picture_is_not_enlarged() -> None:
    assert decode_bytes(thumbnail(Image.new("RGB", (10, 1), RED))).size == (10, 1)


@pytest.mark.parametrize("side", [320, 800])
def test_a_thumbnail_of_noise_is_at_most_20_kb(side: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    data = thumbnail(Image.fromarray(values), side=side)
    assert len(data) <= 20_000


def test_a_thumbnail_leaves_the_picture_as_it_was() -> None:
    image = Image.new("RGB", (1000, 500), RED)
    thumbnail(image)
    assert image.size == (1000, 500)
