"""Files that break loaders, from a collection that lies beside a full checkout; skipped where it does not."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from indexer.decode import decode
from indexer.errors import DecodeFailed
from indexer.sources.folder import FileRecord, records

DATA = Path(__file__).parents[3] / "shared" / "data"
TORTURE = DATA / "torture"
PHOTOS = DATA / "rclip_photos"
needs_torture = pytest.mark.skipif(not TORTURE.is_dir(), reason=f"no collection of broken files at {TORTURE}")
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photographs at {PHOTOS}")


def pixels(name: str) -> NDArray[np.float64]:
    return np.asarray(decode(TORTURE / name)).astype(np.float64)


def decodes(path: Path) -> bool:
    try:
        image = decode(path)
    except DecodeFailed:
        return False
    assert type(image) is Image.Image
    assert (image.mode, image.info) == ("RGB", {})
    return True


@needs_torture
def test_every_row_of_the_manifest_decodes_or_fails_as_it_says() -> None:
    with (TORTURE / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # The manifest was measured with Pillow alone and says itself that HEIC decodes with a plugin, which we have.
    wanted = {row["file"]: row["kind"] == "heic" or row["decodable"] == "yes" for row in rows}
    found = {name: decodes(TORTURE / name) for name in wanted}
    assert len(wanted) == 305
    assert {name for name in wanted if wanted[name] != found[name]} == set()


@needs_torture
def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    assert pixels("pngsuite/basn0g16.png").mean() == pytest.approx(143.9, abs=0.2)


@needs_torture
def test_transparent_pixels_show_white_and_not_what_they_hide() -> None:
    assert pixels("pillow/transparent.png")[:, :, 0].mean() == pytest.approx(211, abs=0.5)


@needs_torture
@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_nine_orientations_show_one_picture(shape: str) -> None:
    small = [decode(TORTURE / f"exif_orientation/{shape}_{i}.jpg").resize((224, 224)) for i in range(9)]
    arrays = [np.asarray(image).astype(np.float64) for image in small]
    assert max(float(np.abs(a - b).mean()) for a in arrays for b in arrays) <= 1.6


@needs_torture
@pytest.mark.parametrize(
    "name",
    ["pil_sample_cmyk.jpg", "tiff_strip_cmyk_jpeg.tif", "tiff_tiled_cmyk_jpeg.tif", "tiff_strip_cmyk_16l_jpeg.tif"],
)
def test_cmyk_comes_out_near_its_rgb_twin(name: str) -> None:
    assert np.abs(pixels(f"pillow/{name}") - pixels("pillow/pil_sample_rgb.jpg")).mean() <= 5


@needs_torture
def test_lab_comes_out_near_its_rgb_twin() -> None:
    assert np.abs(pixels("pillow/hopper.Lab.tif") - pixels("pillow/hopper.bmp")).mean() <= 5


@needs_photos
def test_of_23_files_22_decode_and_the_text_is_named_as_no_image() -> None:
    found = list(records(PHOTOS / "images"))
    failed = {}
    for record in found:
        assert isinstance(record, FileRecord)
        try:
            decode(record.path)
        except DecodeFailed as error:
            failed[record.path.name] = error.reason
    assert len(found) == 23
    assert failed == {"not-an-image.txt": "not an image"}


@needs_photos
@pytest.mark.parametrize(("folder", "count"), [("images_unicode", 1), ("images_nested", 13)])
def test_all_of_a_folder_decodes(folder: str, count: int) -> None:
    found = [record for record in records(PHOTOS / folder) if isinstance(record, FileRecord)]
    assert [decodes(record.path) for record in found] == [True] * count
