"""`sightline lookup`: a picture becomes the texts that describe it."""

from __future__ import annotations

import click

from api.cli.shared import (
    Bar,
    as_json,
    model_option,
    open_sightline,
    page_as_json,
    print_json,
    print_page,
    ranking_options,
)


@click.command("lookup")
@click.argument("picture")
@click.option("--gallery", "-g", metavar="TARGET", help="Rank the texts of this gallery or folder.")
@click.option("--texts", metavar="FILE", help="Rank the lines of this file instead.")
@ranking_options
@model_option
@as_json
def command(
    picture: str,
    gallery: str | None,
    texts: str | None,
    k: int,
    candidates: int | None,
    rerank: bool,
    matcher: str | None,
    model: str | None,
    json_wanted: bool,
) -> None:
    """Find the texts that describe PICTURE best."""
    sightline = open_sightline()
    if gallery is None and texts is None:
        gallery = sightline.gallery_of_file(picture)
    with Bar() as bar:
        page = sightline.lookup(
            picture,
            gallery,
            texts=None if texts is None else read_texts(texts),
            texts_name=texts or "",
            k=k,
            candidates=candidates,
            rerank=rerank,
            matcher=matcher,
            model=model,
            progress=bar,
        )
    if json_wanted:
        print_json(page_as_json(page))
        return
    print_page(page)


def read_texts(file: str) -> list[str]:
    """Read a text per line, of standard input where the file is -; empty lines are passed over."""
    from api.errors import UsageError

    try:
        with click.open_file(file, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("texts", f"{file} cannot be read as UTF-8 text: {error}") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise UsageError("texts", f"{file} holds no text; give one per line")
    return texts
