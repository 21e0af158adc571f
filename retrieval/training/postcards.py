"""Postcards: draws scenes as pictures, saves them with a mark in the file, and writes galleries of held-out ones."""

from __future__ import annotations

import json
import random
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo

from retrieval.training.backdrops import backdrop
from retrieval.training.captions import fullest_caption
from retrieval.training.claims import is_true
from retrieval.training.nouns import NOUNS, PAINTS, TINTS, Mark, Rgb, blend
from retrieval.training.scenes import Scene, draw_scene

SIZE = 256
MARK_KEY = "Sightline"
MARK_TEXT = "rendered postcard"

_SHARPNESS = 4  # sprites are drawn this much larger and shrunk: smooth edges
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def render(scene: Scene) -> Image.Image:
    """Draw a scene: an RGB picture of 256 x 256, the same for the same scene."""
    picture = backdrop(scene.place, scene.variant, SIZE).copy()
    for thing in scene.things:
        sprite = _sprite(thing.noun, thing.tint, thing.scale)
        x, y = thing.centre
        corner = round(x * SIZE - sprite.width / 2), round(y * SIZE - sprite.height / 2)
        picture.paste(sprite, corner, sprite)
    return picture


def save_postcard(scene: Scene, path: Path) -> None:
    """Draw a scene into a PNG whose text says that it was rendered."""
    info = PngInfo()
    info.add_text(MARK_KEY, MARK_TEXT)
    render(scene).save(path, format="PNG", pnginfo=info)


def is_rendered(path: Path) -> bool:
    """Whether a file is a PNG that `save_postcard` wrote: reads the chunks before the pixels and never raises."""
    try:
        with path.open("rb") as file:
            if file.read(8) != _PNG_HEAD:
                return False
            while True:
                length, kind = struct.unpack(">I4s", file.read(8))
                if kind in (b"IDAT", b"IEND") or length > 65536:
                    return False
                body = file.read(length + 4)[:-4]
                if kind == b"tEXt" and body == f"{MARK_KEY}\0{MARK_TEXT}".encode():
                    return True
    except (OSError, ValueError, struct.error):
        return False


def write_gallery(folder: Path, *, scenes: int = 1000, seed: int) -> None:
    """Write held-out scenes as `postcard-0001.png` and on, with every fullest caption that is true of each.

    `captions.jsonl` has a line per picture: {"file": name, "texts": [caption, ...]}, its own caption first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = gallery_scenes(scenes, seed=seed)
    captions = list(dict.fromkeys(fullest_caption(scene) for scene in drawn))
    with (folder / "captions.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
        for number, scene in enumerate(drawn, start=1):
            name = f"postcard-{number:04d}.png"
            save_postcard(scene, folder / name)
            own = fullest_caption(scene)
            texts = [own, *(caption for caption in captions if caption != own and is_true(caption, scene))]
            lines.write(json.dumps({"file": name, "texts": texts}) + "\n")


def gallery_scenes(count: int, *, seed: int) -> list[Scene]:
    """The held-out scenes of a gallery, in order."""
    rng = random.Random(f"gallery {seed}")
    return [draw_scene(rng, held_out=True) for _ in range(count)]


@lru_cache(maxsize=2048)
def _sprite(noun: str, tint: str, scale: float) -> Image.Image:
    """A noun in a tint with a pale rim, as a sticker: RGBA, `scale` of the picture wide."""
    inner = round(scale * SIZE)
    rim = 3
    drawn = Image.new("RGBA", ((inner + 2 * rim) * _SHARPNESS,) * 2)
    pen = ImageDraw.Draw(drawn)
    for mark in NOUNS[noun]:
        _draw_mark(pen, mark, _paint(mark.paint, tint), inner * _SHARPNESS, rim * _SHARPNESS)
    sticker = Image.new("RGBA", drawn.size, (*PAINTS["white"], 255))
    shape = _grown(drawn.getchannel("A"), rim * _SHARPNESS - 2)
    sticker.putalpha(shape.filter(ImageFilter.GaussianBlur(2)))
    sticker.alpha_composite(drawn)
    return sticker.resize((inner + 2 * rim,) * 2, Image.Resampling.LANCZOS)


def _grown(shape: Image.Image, by: int) -> Image.Image:
    """A shape grown by a square brush: what Pillow's MaxFilter gives, axis by axis and five times as fast."""
    grown = np.asarray(shape)
    for _ in range(2):
        padded = np.pad(grown, ((by, by), (0, 0)))
        grown = np.maximum.reduce([padded[shift : shift + len(grown)] for shift in range(2 * by + 1)]).T
    return Image.fromarray(np.ascontiguousarray(grown))


def _draw_mark(pen: ImageDraw.ImageDraw, mark: Mark, colour: Rgb, scale: int, margin: int) -> None:
    points = [value * scale + margin for value in mark.points]
    width = max(1, round(mark.width * scale))
    match mark.kind:
        case "ellipse":
            pen.ellipse(points, fill=colour)
        case "polygon":
            pen.polygon(points, fill=colour)
        case "box":
            pen.rounded_rectangle(points, radius=mark.width * scale, fill=colour)
        case "pie":
            pen.pieslice(points, *mark.angles, fill=colour)
        case "arc":
            pen.arc(points, *mark.angles, fill=colour, width=width)
        case "line":
            pen.line(points, fill=colour, width=width, joint="curve")


def _paint(paint: str, tint: str) -> Rgb:
    match paint:
        case "tint":
            return TINTS[tint]
        case "dark":
            return blend(TINTS[tint], (20, 16, 40), 0.28)
        case "light":
            return blend(TINTS[tint], (255, 255, 255), 0.45)
        case _:
            return PAINTS[paint]
