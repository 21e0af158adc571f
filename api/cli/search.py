"""`sightline search`: a text, a picture or both become hits."""

from __future__ import annotations

import click

from api.cli.shared import (
    Bar,
    as_json,
    model_option,
    open_sightline,
    page_as_json,
    pooled_option,
    print_json,
    print_page,
    ranking_options,
    readers,
    tell_unknown,
    threshold_options,
)


@click.command("search")
@click.argument("target")
@click.argument("text", required=False)
@click.option("--image", metavar="PICTURE", help="Search by a picture, alone or together with TEXT.")
@ranking_options
@pooled_option
@threshold_options
@model_option
@as_json
def command(
    target: str,
    text: str | None,
    image: str | None,
    k: int,
    candidates: int | None,
    rerank: bool,
    matcher: str | None,
    pooled: int | None,
    min_match: float | None,
    target_precision: float | None,
    model: str | None,
    json_wanted: bool,
) -> None:
    """Find pictures in TARGET, a folder or a gallery, by TEXT.

    A folder is indexed first; afterwards only what changed.
    """
    sightline = open_sightline()
    with Bar() as bar:
        page = sightline.search(
            target,
            text,
            image=image,
            k=k,
            candidates=candidates,
            rerank=rerank,
            matcher=matcher,
            pooled=pooled,
            min_match=min_match,
            target_precision=target_precision,
            model=model,
            progress=bar,
        )
    if json_wanted:
        tell_unknown(readers(page), page.unknown_words)
        print_json(page_as_json(page))
        return
    print_page(page, sightline.gallery(page.gallery).sources if page.gallery else ())
