"""Brings a database to the schema of this program by running the migrations."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from storage.db import Database
from storage.errors import DatabaseUnreachable, SchemaOutdated

HEAD = "0004"
"""The newest revision of `migrations/versions`; a test compares the two, so that a start needs no Alembic import."""


def upgrade(database: Database) -> None:
    """Run the migrations that are missing; safe to call from several processes at once."""
    found = revision(database)
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    with database.engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:  # a revision that this program does not know: a newer one wrote it
            raise SchemaOutdated(found, HEAD) from error


def require_current(database: Database) -> None:
    """Raise SchemaOutdated unless the database is at this program's schema."""
    found = revision(database)
    if found != HEAD:
        raise SchemaOutdated(found, HEAD)


def revision(database: Database) -> str | None:
    """Read which migration the database is at; None for an empty one. This is where a wrong address shows."""
    try:
        with database.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return found
    except DBAPIError as error:
        raise DatabaseUnreachable(database.address, str(error.orig).strip().splitlines()[0]) from error


@lru_cache
def migrations_folder() -> Path:
    """Find the migrations package without importing it: storage lies below it."""
    spec = find_spec("migrations")
    assert spec, "the migrations package is part of the installation"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))
