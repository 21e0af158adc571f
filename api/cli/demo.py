"""`sightline demo`: a gallery of drawn postcards, indexed, searched, described and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.evaluation_tables import evaluation_table
from api.cli.shared import Bar, as_json, notice, open_sightline, page_lines, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from api.library import Sightline
    from api.results import Indexed
    from api.schemas import AnswerOut, PageOut

SCENES = 2000
HELD_OUT_QUERIES = 200
CANDIDATES = 256  # short queries: ITC ranks what they leave open, and ITM has to look further down
BELIEVED = 0.5  # what is more likely than not
QUESTIONS = ("what colour is the car?", "how many apples are there?", "is the car left of the apples?")


@click.command("demo")
@click.option("--scenes", type=click.IntRange(10, 100_000), default=SCENES, show_default=True, help="Pictures to draw.")
@as_json
def command(scenes: int, json_wanted: bool) -> None:
    """Render a gallery of postcards, index it, and show what search, ask and evaluate do."""
    from api.doors.demo import GALLERY, QUERIES, SEED, folder_of
    from api.schemas import AnswerOut, EvaluatedOut, IndexedOut, PageOut
    from retrieval.training.world.galleries import write_gallery

    tell = notice if json_wanted else click.echo
    sightline = open_sightline()
    folder = folder_of(sightline.settings)
    tell(f"Rendering {scenes} postcards into {folder}")
    write_gallery(folder, scenes=scenes, seed=SEED)
    with Bar() as bar:
        indexed = index_anew(sightline, folder, bar)
    tell(f"Gallery {indexed.gallery}: {indexed.report.found} pictures, {indexed.report.texts} texts")
    tell(f"\nRecall over {HELD_OUT_QUERIES} held-out queries in each direction")
    with Bar() as bar:
        evaluated = sightline.evaluate(GALLERY, queries=HELD_OUT_QUERIES, progress=bar)
    tell(evaluation_table(evaluated))
    pages = [sightline.search(GALLERY, text, k=3, candidates=CANDIDATES, min_match=BELIEVED) for text in QUERIES]
    for text, page in zip(QUERIES, pages, strict=True):
        unknown = f"  (unknown words: {', '.join(page.unknown_words)})" if page.unknown_words else ""
        tell("\n".join(["", text + unknown, *page_lines(page, sightline.gallery(GALLERY).sources)]))
    first = pages[0].hits[0]
    caption, answers = sightline.ask(first.id), [sightline.ask(first.id, question) for question in QUESTIONS]
    tell(f"\nCaption of {first.uri.rsplit('/', 1)[-1]}: {caption.text}")
    tell("\n".join(f"{question} {answer.text}" for question, answer in zip(QUESTIONS, answers, strict=True)))
    tell("\nOpen the service: sightline serve    (in a checkout: .venv/bin/sightline serve)")
    if json_wanted:
        shown: dict[str, BaseModel | list[PageOut] | list[AnswerOut]] = {
            "indexed": IndexedOut.of(indexed),
            "pages": [PageOut.of(page) for page in pages],
            "caption": AnswerOut.of(caption),
            "answers": [AnswerOut.of(answer) for answer in answers],
            "evaluation": EvaluatedOut.of(evaluated),
        }
        print_json({name: dump(value) for name, value in shown.items()})


def dump(value: BaseModel | list[PageOut] | list[AnswerOut]) -> object:
    """Turn schemas into what JSON can hold."""
    return [one.model_dump(mode="json") for one in value] if isinstance(value, list) else value.model_dump(mode="json")


def index_anew(sightline: Sightline, folder: Path, bar: Bar) -> Indexed:
    """Index the demo's gallery; one that an older model built is replaced."""
    from api.doors.demo import GALLERY
    from indexer.uri import to_uri
    from storage.errors import ModelMismatch

    try:
        return sightline.index(folder, gallery=GALLERY, model="postcards", progress=bar)
    except ModelMismatch:
        if sightline.gallery(GALLERY).sources != (to_uri(folder),):
            raise
        sightline.remove(GALLERY)
        return sightline.index(folder, gallery=GALLERY, model="postcards", progress=bar)
