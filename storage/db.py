"""Opens the database: one engine, reading and writing sessions, SQLite told to keep what it acknowledges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import OperationalError
from time import monotonic, sleep
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from storage.errors import DatabaseUnreachable

__all__ = ["Database", "Session"]

BUSY_SECONDS = 30
"""How long a SQLite writer waits for another one before it gives up."""


class Database:
    """An engine and the two kinds of transaction on it."""

    def __init__(self, url: str) -> None:
        """Connect lazily to any SQLAlchemy address; the folder of a SQLite file is made."""
        try:
            parsed = make_url(url)
            self.address = parsed.render_as_string(hide_password=True)
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            self.engine = _sqlite(parsed) if self.is_sqlite else create_engine(parsed, pool_pre_ping=True)
        except (SQLAlchemyError, ImportError) as error:
            raise DatabaseUnreachable(url.partition("://")[0] + "://...", str(error).splitlines()[0]) from error
        self._writer = self.engine.execution_options(writes=True)
        # SQLite reads one state of the database per transaction by itself; others must be asked to.
        one_state = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reader = self.engine.execution_options(**one_state)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session on one consistent state of the database."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session whose work is committed at the end, or rolled back by an error."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Return all connections."""
        self.engine.dispose()


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    _tell_sqlite(engine)
    return engine


def _tell_sqlite(engine: Engine) -> None:
    """Set the pragmas of every connection, and begin writers with IMMEDIATE so that they queue instead of failing."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        # Autocommit in the driver: BEGIN is sent below, where it is known whether the transaction writes.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        _write_ahead(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _write_ahead(cursor: Any) -> None:
    """Switch a database to write-ahead logging, once in its life.

    The switch needs the file for itself, and SQLite's busy timeout does not wait for that: processes that open a new
    database together would fail.
    """
    deadline = monotonic() + BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] not in {"wal", "memory"}:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except OperationalError:
            if monotonic() > deadline:
                raise
            sleep(0.01)
