from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from retrieval.training.world import render as world
from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import claim_text, is_true
from retrieval.training.world.galleries import gallery_scenes, write_gallery
from retrieval.training.world.render import render, save_postcard
from retrieval.training.world.scenes import Link, Scene, Thing

CAR = Thing("car", "red", 0, 0, facing="right")
BEACH = Scene("beach", "day", "clear", (CAR, Thing("cat", "blue", 1, 0, count=3, size="", facing="left")))


def digest(scene: Scene) -> str:
    return hashlib.sha256(render(scene).tobytes()).hexdigest()[:16]


def cell(scene: Scene, column: int, row: int) -> np.ndarray:
    side = 96
    return np.asarray(render(scene), dtype=np.int16)[row * side : (row + 1) * side, column * side : (column + 1) * side]


@pytest.mark.skipif(PIL.__version__ != "13.0.0", reason="pixels are promised for the pinned Pillow")
def test_a_scene_is_the_same_pixels_everywhere() -> None:
    assert digest(BEACH) == "5bd6254319cb2db3"


def test_a_postcard_is_a_square_rgb_picture() -> None:
    assert (render(BEACH).mode, render(BEACH).size) == ("RGB", (288, 288))


def test_what_a_thing_is_like_is_seen_where_it_lies_and_nowhere_else() -> None:
    for change in ({"tint": "blue"}, {"facing": "left"}, {"size": "small"}, {"noun": "bus"}):
        other = replace(BEACH, things=(replace(CAR, **change), BEACH.things[1]))
        assert np.abs(cell(BEACH, 0, 0) - cell(other, 0, 0)).mean() > 2
        assert np.array_equal(cell(BEACH, 2, 2), cell(other, 2, 2))


def test_facing_left_is_the_mirror_image_of_facing_right() -> None:
    def alone(facing: str) -> np.ndarray:
        return cell(Scene("snow", "day", "clear", (replace(CAR, column=1, row=1, facing=facing),)), 1, 1)

    # The backdrop is not mirrored; where the sticker is, the pictures agree.
    differs = np.abs(alone("left")[:, ::-1] - alone("right")).max(axis=2) > 40
    assert differs[24:72, 24:72].mean() < 0.05


def test_what_lies_behind_is_covered() -> None:
    tree, house = Thing("tree", "red", 0, 1), Thing("house", "green", 1, 1)
    apart = Scene("snow", "day", "clear", (tree, house))
    behind, front = replace(apart, links=(Link("behind", 0, 1),)), replace(apart, links=(Link("behind", 1, 0),))
    assert len({digest(apart), digest(behind), digest(front)}) == 3


def is_rendered(path: Path) -> bool:
    with path.open("rb") as file:
        return world.is_rendered(file)


def test_a_small_drawing_shows_what_a_large_one_shows() -> None:
    large = render(BEACH).resize((144, 144), Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(large, dtype=np.int16) - np.asarray(render(BEACH, 144), dtype=np.int16))
    assert difference.mean() < 6


def test_a_saved_postcard_says_that_it_was_rendered(tmp_path: Path) -> None:
    save_postcard(BEACH, tmp_path / "card.png")
    assert is_rendered(tmp_path / "card.png")
    with Image.open(tmp_path / "card.png") as image:
        assert image.info["Sightline"] == "rendered postcard"  # what any reader of PNG sees
        assert image.convert("RGB").tobytes() == render(BEACH).tobytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt", b"\xff\xd8\xff\xe0 a photograph"],
)
def test_junk_is_not_rendered(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "junk.png").write_bytes(content)
    assert not is_rendered(tmp_path / "junk.png")


def test_other_files_are_not_rendered(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert not is_rendered(tmp_path / "plain.png")


def test_a_gallery_lists_every_caption_that_is_true_of_a_picture(tmp_path: Path) -> None:
    write_gallery(tmp_path, scenes=12, seed=4)
    drawn = gallery_scenes(12, seed=4)
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    captions = [claim_text(fullest_claim(scene)) for scene in drawn]
    assert [line["file"] for line in lines] == [f"postcard-{number:04d}.png" for number in range(1, 13)]
    for line, scene, caption in zip(lines, drawn, captions, strict=True):
        assert is_rendered(tmp_path / line["file"])
        assert line["texts"][0] == caption
        assert set(line["texts"]) == {text for text in captions if is_true(text, scene)}
