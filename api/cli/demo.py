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
    from api.results import Indexed, Page
    from api.schemas import AnswerOut, PageOut

SCENES = 2000
SEED = 2026  # the gallery that the model's card was measured on
HELD_OUT_QUERIES = 200
QUERIES = (
    "three apples left of a blue car",
    "three apples right of a blue car",  # the twin of the one above
    "a sign saying jazz",
    "a submarine in a library",
)
CANDIDATES = 256  # short queries: ITC ranks what they leave open, and ITM has to look further down
BELIEVED = 0.5  # the matcher says match above this
QUESTIONS = ("what colour is the car?", "how many apples are there?", "is the car left of the apples?")
GALLERY = "demo"


@click.command("demo")
@click.option("--scenes", type=click.IntRange(10, 100_000), default=SCENES, show_default=True, help="Pictures to draw.")
@as_json
def command(scenes: int, json_wanted: bool) -> None:
    """Render a gallery of postcards, index it, and show what search, ask and evaluate do."""
    from api.schemas import AnswerOut, EvaluatedOut, IndexedOut, PageOut
    from retrieval.training.world.galleries import write_gallery

    tell = notice if json_wanted else click.echo
    sightline = open_sightline()
    folder = sightline.settings.home / "demo" / "postcards"
    tell(f"Rendering {scenes} postcards into {folder}")
    write_gallery(folder, scenes=scenes, seed=SEED)
    with Bar() as bar:
        indexed = index_anew(sightline, folder, bar)
    tell(f"Gallery {indexed.gallery}: {indexed.report.found} pictures, {indexed.report.texts} texts")
    pages = [sightline.search(GALLERY, text, k=3, candidates=CANDIDATES) for text in QUERIES]
    for text, page in zip(QUERIES, pages, strict=True):
        tell("\n".join(["", text, *page_lines(page, sightline.gallery(GALLERY).sources)]))
    first = pages[0].hits[0]
    caption, answers = sightline.ask(first.id), [sightline.ask(first.id, question) for question in QUESTIONS]
    tell(f"\nCaption of {first.uri.rsplit('/', 1)[-1]}: {caption.text}")
    tell("\n".join(f"{question} {answer.text}" for question, answer in zip(QUESTIONS, answers, strict=True)))
    tell(f"\nRecall over {HELD_OUT_QUERIES} held-out queries in each direction")
    with Bar() as bar:
        evaluated = sightline.evaluate(GALLERY, queries=HELD_OUT_QUERIES, progress=bar)
    tell(evaluation_table(evaluated))
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


def page_lines(page: Page, sources: tuple[str, ...]) -> list[str]:
    """Show hits, a line each; or that nothing matches, if the matcher believes none of them."""
    best = max((hit.match_probability or 0.0 for hit in page), default=0.0)
    if best >= BELIEVED:
        return [hit_line(hit, sources) for hit in page]
    unknown = f"; unknown words: {', '.join(page.unknown_words)}" if page.unknown_words else ""
    return [f"  nothing matches (the best match probability is {best:.1%}){unknown}"]


def dump(value: BaseModel | list[PageOut] | list[AnswerOut]) -> object:
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
