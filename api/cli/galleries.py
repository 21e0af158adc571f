"""`sightline galleries`: what there is to search."""

from __future__ import annotations

import click

from api.cli.shared import as_json, open_sightline, print_json


@click.command("galleries")
@click.option("--remove", metavar="NAME", help="Forget a gallery; its pictures stay, but for uploaded ones.")
@as_json
def command(remove: str | None, json_wanted: bool) -> None:
    """List the galleries, or remove one."""
    from api.schemas import GalleryOut

    sightline = open_sightline()
    if remove is not None:
        sightline.remove(remove)
    summaries = sightline.galleries()
    if json_wanted:
        print_json([GalleryOut.of(summary).model_dump() for summary in summaries])
        return
    if not summaries:
        click.echo("No gallery yet: sightline index FOLDER makes one.")
    for one in summaries:
        texts = f", {one.texts} texts" if one.texts else ""
        failed = f", {one.failed} failed" if one.failed else ""
        model = one.model or "no model: names and captions"
        click.echo(f"{one.name}: {one.items} items{texts}{failed}, {model}, revision {one.revision}")
