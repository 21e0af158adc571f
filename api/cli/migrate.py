"""`sightline migrate`: bring a database to this program's schema."""

from __future__ import annotations

import click

from api.cli.shared import as_json, print_json


@click.command("migrate")
@as_json
def command(json_wanted: bool) -> None:
    """Bring the database to this program's schema; SQLite is brought there by itself."""
    from api.settings import read_settings
    from storage import schema
    from storage.db import Database

    database = Database(read_settings().database)
    schema.upgrade(database)
    revision = schema.revision(database)
    if json_wanted:
        print_json({"schema": revision})
        return
    click.echo(f"The database is at schema {revision}.")
