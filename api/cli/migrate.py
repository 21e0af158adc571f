"""`sightline migrate`: bring a database to this program's schema."""

from __future__ import annotations

import click


@click.command("migrate")
def command() -> None:
    """Bring the database to this program's schema; SQLite is brought there by itself."""
    from api.settings import read_settings
    from storage import schema
    from storage.db import Database

    database = Database(read_settings().database)
    schema.upgrade(database)
    click.echo(f"The database is at schema {schema.revision(database)}.")
