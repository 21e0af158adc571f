"""`sightline demo`: a gallery of drawn postcards, indexed, searched, described and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.evaluate import evaluation_table
from api.cli.shared import Bar, as_json, hit_line, notice, open_sightline, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from api.library import Sightline
    from api.results import Indexed
    from api.schemas import PageOut

SCENES = 1000
SEED = 46
HELD_OUT_QUERIES = 200
QUERIES = ("a penguin left of a red car", "a yellow boat on the beach", "a cat above a blue umbrella")
QUESTION = "what colour is the car?"
GALLERY = "demo"


@click.command("demo")
@click.option("--scenes", type=click.IntRange(10, 100_000), default=SCENES, show_default=True, help="Pictures to draw.")
@as_json
def command(scenes: int, json_wanted: bool) -> None:
    """Render a gallery of postcards, index it, and show what search, ask and evaluate do."""
    from api.schemas import AnswerOut, EvaluatedOut, IndexedOut, PageOut
    from retrieval.training.postcards import write_gallery

    tell = notice if json_wanted else click.echo
    sightline = open_sightline()
    folder = sightline.settings.home / "demo" / "postcards"
    tell(f"Rendering {scenes} postcards into {folder}")
    write_gallery(folder, scenes=scenes, seed=SEED)
    with Bar() as bar:
        indexed = index_anew(sightline, folder, bar)
    tell(f"Gallery {indexed.gallery}: {indexed.report.found} pictures, {indexed.report.texts} texts")
    pages = [sightline.search(GALLERY, text, k=5) for text in QUERIES]
    for text, page in zip(QUERIES, pages, strict=True):
        tell("\n".join(["", text, *(hit_line(hit, sightline.gallery(GALLERY).sources) for hit in page)]))
    first = pages[0].hits[0]
    caption, answer = sightline.ask(first.id), sightline.ask(first.id, QUESTION)
    tell(f"\nCaption of {first.uri.rsplit('/', 1)[-1]}: {caption.text}\n{QUESTION} {answer.text}")
    tell(f"\nRecall over {HELD_OUT_QUERIES} held-out queries in each direction")
    with Bar() as bar:
        evaluated = sightline.evaluate(GALLERY, queries=HELD_OUT_QUERIES, progress=bar)
    tell(evaluation_table(evaluated))
    tell("\nOpen the service: sightline serve    (in a checkout: .venv/bin/sightline serve)")
    if json_wanted:
        shown: dict[str, BaseModel | list[PageOut]] = {
            "indexed": IndexedOut.of(indexed),
            "pages": [PageOut.of(page) for page in pages],
            "caption": AnswerOut.of(caption),
            "answer": AnswerOut.of(answer),
            "evaluation": EvaluatedOut.of(evaluated),
        }
        print_json({name: dump(value) for name, value in shown.items()})


def dump(value: BaseModel | list[PageOut]) -> object:
    """Turn schemas into what JSON can hold."""
    return [one.model_dump() for one in value] if isinstance(value, list) else value.model_dump()


def index_anew(sightline: Sightline, folder: Path, bar: Bar) -> Indexed:
    """Index the demo's gallery; one that an older model built is replaced."""
    from indexer.uri import to_uri
    from storage.errors import ModelMismatch

    try:
        return sightline.index(folder, gallery=GALLERY, model="postcards", progress=bar)
    except ModelMismatch:
        if sightline.gallery(GALLERY).sources != (to_uri(folder),):
            raise
        sightline.remove(GALLERY)
        return sightline.index(folder, gallery=GALLERY, model="postcards", progress=bar)
