"""Draws docs/pictures/hits.png: what a query finds in the demo's gallery, before and after reranking.

Run after `make demo`: .venv/bin/python docs/pictures/hits.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from api import Sightline
from indexer.uri import from_uri
from retrieval.types import Hit

QUERIES = ("three apples left of a blue car", "three apples right of a blue car")
SIDE, GAP, LINE, K = 180, 14, 18, 5
CANDIDATES = 256
INK, PAPER = (40, 40, 48), (252, 252, 250)


def draw_row(sheet: Image.Image, top: int, title: str, hits: list[Hit]) -> None:
    """Draw a line of hits with their numbers."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((GAP, top), title, INK, ImageFont.load_default(15))
    for i, hit in enumerate(hits):
        left = GAP + i * (SIDE + GAP)
        with Image.open(from_uri(hit.uri)) as picture:
            sheet.paste(picture.convert("RGB").resize((SIDE, SIDE)), (left, top + 24))
        said = f"ITC {hit.itc_rank} -> {hit.rank}   similarity {hit.itc_similarity:.2f}"
        pen.text((left, top + 28 + SIDE), said, INK, font)
        if hit.match_probability is not None:
            pen.text((left, top + 28 + SIDE + LINE), f"match {hit.match_probability:.1%}", INK, font)


def main() -> None:
    """Search, and draw the pages: the first stage, reranked, and reranked for the twin of the query."""
    library = Sightline()
    row = SIDE + 2 * LINE + 44
    sheet = Image.new("RGB", (GAP + K * (SIDE + GAP), GAP + 3 * row), PAPER)
    first = library.search("demo", QUERIES[0], k=K, rerank=False)
    draw_row(sheet, GAP, f"{QUERIES[0]!r}: first stage (ITC)", list(first))
    for number, query in enumerate(QUERIES, start=1):
        hits = list(library.search("demo", query, k=K, candidates=CANDIDATES))
        draw_row(sheet, GAP + number * row, f"{query!r}: reranked (ITM over 256 candidates)", hits)
    sheet.save(Path(__file__).with_name("hits.png"), optimize=True)
    library.close()


if __name__ == "__main__":
    main()
