"""`sightline index`: make a gallery hold what a folder holds."""

from __future__ import annotations

import click

from api.cli.shared import Bar, as_json, model_option, notice, open_sightline, print_json


@click.command("index")
@click.argument("folder")
@click.option("--gallery", metavar="NAME", help="The gallery's name; by default the folder's.")
@model_option
@click.option("--failed", is_flag=True, help="List the files of the gallery FOLDER that could not be read.")
@as_json
def command(folder: str, gallery: str | None, model: str | None, failed: bool, json_wanted: bool) -> None:
    """Embed the pictures of FOLDER into a gallery; afterwards only what changed.

    A captions.jsonl in FOLDER adds texts: {"file": "a.jpg", "texts": ["..."]} on each line.
    """
    if failed:
        list_failed(folder, json_wanted)
        return
    from api.schemas import IndexedOut

    sightline = open_sightline()
    try:
        with Bar() as bar:
            indexed = sightline.index(folder, gallery=gallery, model=model, progress=bar)
    except KeyboardInterrupt:
        notice("Stopped. What was indexed can be searched; the same command goes on from here.")
        raise click.exceptions.Exit(130) from None
    if json_wanted:
        print_json(IndexedOut.of(indexed).model_dump())
        return
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
    click.echo(f"{indexed.gallery}: {report.found} files; {said} (model {indexed.model or 'none: names and captions'})")
    for uri, reason in report.failed[:20]:
        notice(f"skipped {uri}: {reason}")
    if len(report.failed) > 20:
        notice(f"... and {len(report.failed) - 20} more: sightline index --failed {indexed.gallery}")


def list_failed(target: str, json_wanted: bool) -> None:
    """List what could not be read, with reasons; TARGET is a gallery's name or its folder."""
    from api.schemas import FailedOut

    sightline = open_sightline()
    failed = sightline.failed(sightline.name_of(target))
    if json_wanted:
        print_json([FailedOut.of(item).model_dump() for item in failed])
        return
    for item in failed:
        click.echo(f"{item.uri}: {item.reason}")
