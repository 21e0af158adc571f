"""`sightline models`: the table of names."""

from __future__ import annotations

import click

from api.cli.shared import as_json, open_sightline, print_json


@click.command("models")
@as_json
def command(json_wanted: bool) -> None:
    """List the models that have names, what they can do and whether their weights are here."""
    from api.schemas import ModelOut

    rows = [ModelOut.of(row) for row in open_sightline().models()]
    if json_wanted:
        print_json([row.model_dump() for row in rows])
        return
    for row in rows:
        size = f"{row.download_bytes / 1e6:.0f} MB" if row.download_bytes else "bundled"
        here = "here" if row.cached else "to download"
        click.echo(f"{row.name:28} {', '.join(row.roles):40} {row.image_size:4d} px  {size:>8}  {here}")
