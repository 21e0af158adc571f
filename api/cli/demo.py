"""`sightline demo`: a gallery of drawn postcards, indexed, searched, described and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.evaluate import print_evaluation
from api.cli.shared import Bar, hit_line, open_sightline

if TYPE_CHECKING:
    from pathlib import Path

    from api.library import Sightline
    from api.results import Indexed
    from retrieval.types import Hit

SCENES = 1000
SEED = 20
HELD_OUT_QUERIES = 200
QUERIES = ("a penguin left of a red car", "a yellow boat", "a cat above a blue umbrella")
GALLERY = "postcards"


@click.command("demo")
@click.option(
    "--scenes", type=click.IntRange(10, 100_000), default=SCENES, show_default=True, help="How many pictures."
)
def command(scenes: int) -> None:
    """Render a gallery of postcards, index it, and show what search, ask and evaluate do."""
    from retrieval.training.postcards import write_gallery

    sightline = open_sightline()
    folder = sightline.settings.home / "demo" / GALLERY
    click.echo(f"Rendering {scenes} postcards into {folder}")
    write_gallery(folder, scenes=scenes, seed=SEED)
    with Bar() as bar:
        indexed = index_anew(sightline, folder, bar)
    click.echo(f"Gallery {indexed.gallery}: {indexed.report.found} pictures, {indexed.report.texts} texts")
    first, *_ = [show_query(sightline, text, indexed.gallery) for text in QUERIES]
    click.echo(f"\nCaption of {name_of(first)}: {sightline.ask(first.id).text}")
    question = "what is left of the car ?"
    click.echo(f"{question} {sightline.ask(first.id, question).text}")
    click.echo(f"\nRecall over {HELD_OUT_QUERIES} held-out queries in each direction")
    with Bar() as bar:
        print_evaluation(sightline.evaluate(indexed.gallery, queries=HELD_OUT_QUERIES, progress=bar))
    click.echo("\nOpen the service: sightline serve    (in a checkout: .venv/bin/sightline serve)")


def index_anew(sightline: Sightline, folder: Path, bar: Bar) -> Indexed:
    """Index the demo's gallery; one that an older model built is replaced."""
    from storage.errors import ModelMismatch

    try:
        return sightline.index(folder, gallery=GALLERY, model="postcards", progress=bar)
    except ModelMismatch:
        sightline.remove(GALLERY)
        return sightline.index(folder, gallery=GALLERY, model="postcards", progress=bar)


def show_query(sightline: Sightline, text: str, gallery: str) -> Hit:
    """Print the first hits of a query and give the best one."""
    page = sightline.search(gallery, text, k=5)
    sources = sightline.gallery(gallery).sources
    click.echo(f"\n{text}")
    for hit in page.hits:
        click.echo(hit_line(hit, sources))
    return page.hits[0]


def name_of(hit: Hit) -> str:
    """Give the last part of a hit's file name."""
    return hit.uri.rsplit("/", 1)[-1]
