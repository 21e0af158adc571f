"""`sightline index`: make a gallery hold what a folder or a dataset holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.shared import Bar, as_json, model_option, notice, open_sightline, print_json
from api.signs import visible

if TYPE_CHECKING:
    from api.results import Indexed


@click.command("index")
@click.argument("source")
@click.option("--gallery", metavar="NAME", help="The gallery's name; by default the source's.")
@model_option
@click.option("--layout", metavar="NAME", help="What the dataset is like, where it does not show: coco, csv and so on.")
@click.option("--images", metavar="FOLDER", help="The folder that the names of a dataset's pictures are relative to.")
@click.option("--split", metavar="NAME", help="Take only this split of a dataset.")
@click.option("--image-column", metavar="NAME", help="The column of a table that names or holds the pictures.")
@click.option(
    "--text-column", "text_columns", metavar="NAME", multiple=True, help="A column of a table with texts; say several."
)
@click.option("--failed", is_flag=True, help="List the files of the gallery SOURCE that could not be read.")
@as_json
def command(
    source: str,
    gallery: str | None,
    model: str | None,
    layout: str | None,
    images: str | None,
    split: str | None,
    image_column: str | None,
    text_columns: tuple[str, ...],
    failed: bool,
    json_wanted: bool,
) -> None:
    """Embed the pictures of SOURCE into a gallery; afterwards only what changed.

    SOURCE is a folder of pictures, or a dataset: an annotation file (COCO, Karpathy, Flickr30k, CSV, JSONL and
    others), an archive (webdataset, zip, parquet) or a folder of archives.

    A captions.jsonl in a folder adds texts: {"file": "a.jpg", "texts": ["..."]} on each line.
    """
    if failed:
        list_failed(source, json_wanted)
        return
    from api.schemas import IndexedOut

    sightline = open_sightline()
    try:
        with Bar() as bar:
            indexed = sightline.index(
                source,
                gallery=gallery,
                model=model,
                layout=layout,
                images=images,
                split=split,
                image_column=image_column,
                text_columns=text_columns,
                progress=bar,
            )
    except KeyboardInterrupt:
        notice("Stopped. What was indexed can be searched; the same command goes on from here.")
        raise click.exceptions.Exit(130) from None
    if json_wanted:
        print_json(IndexedOut.of(indexed).model_dump())
        return
    click.echo(visible(summary(indexed)))
    report = indexed.report
    for uri, reason in report.failed[:20]:
        notice(f"skipped {uri}: {reason}")
    if len(report.failed) > 20:
        notice(f"... and {len(report.failed) - 20} more: sightline index --failed {indexed.gallery}")
    if report.left_out:
        notice(f"left out {report.left_out} texts: their pictures are missing or broken")


def summary(indexed: Indexed) -> str:
    """Say in a line what was found and done."""
    report = indexed.report
    counts = {
        "new": report.added,
        "unchanged": report.unchanged,
        "renamed": report.renamed,
        "removed": report.removed,
        "failed": len(report.failed),
        "texts": report.texts,
        "pairs": report.pairs,
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
    found = f"{report.found} files" if indexed.layout is None else f"{report.found} pictures"
    return f"{indexed.gallery}: {found}; {said} (model {indexed.model or 'none: names and captions'})"


def list_failed(target: str, json_wanted: bool) -> None:
    """List what could not be read, with reasons; TARGET is a gallery's name, its folder or its dataset."""
    from api.schemas import FailedOut

    sightline = open_sightline()
    failed = sightline.failed(sightline.name_of(target))
    if json_wanted:
        print_json([FailedOut.of(item).model_dump() for item in failed])
        return
    for item in failed:
        click.echo(visible(f"{item.uri}: {item.reason}"))
