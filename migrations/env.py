"""Alembic's entry: runs migrations on the connection it is handed, or on the address in `-x url=...`."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine

from storage.tables import Table

FULL_TEXT = "words_text"


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave full-text structures out of comparisons: they are SQL of one dialect, not tables of the schema."""
    return not (kind in {"table", "index"} and name is not None and name.startswith(FULL_TEXT))


def run(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(
        connection=connection, target_metadata=Table.metadata, include_name=include_name, render_as_batch=True
    )
    with context.begin_transaction():
        context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///sightline.db")
    with create_engine(url).begin() as opened:
        run(opened)
