"""Draws docs/pictures/postcards.png: a contact sheet of the world of postcards.

Run in a checkout: .venv/bin/python docs/pictures/postcards.py
"""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from retrieval.training.world.render import render
from retrieval.training.world.scenes import draw_scene

SEED, ROWS, COLUMNS, SIDE, GAP = 11, 4, 7, 168, 8


def main() -> None:
    """Draw so many scenes beside each other."""
    rng = random.Random(SEED)
    size = tuple(count * (SIDE + GAP) + GAP for count in (COLUMNS, ROWS))
    sheet = Image.new("RGB", (size[0], size[1]), (252, 252, 250))
    for number in range(ROWS * COLUMNS):
        row, column = divmod(number, COLUMNS)
        picture = render(draw_scene(rng, count=rng.choice((1, 2, 3, 4)))).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (GAP + column * (SIDE + GAP), GAP + row * (SIDE + GAP)))
    sheet.quantize(192).save(Path(__file__).with_name("postcards.png"), optimize=True)


if __name__ == "__main__":
    main()
