"""The lease of a gallery's writer, kept alive by a thread while the work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storage import galleries
from storage.db import Database
from storage.galleries import Gallery
from storage.holders import kept_alive, new_holder


@contextmanager
def write_lease(database: Database, gallery: Gallery) -> Iterator[str]:
    """Hold the gallery's lease; gives the holder's name, with which every publishing transaction checks it again."""
    holder = new_holder()
    with database.writing() as session:
        galleries.acquire_lease(session, gallery, holder)

    def renew() -> None:
        with database.writing() as session:
            galleries.renew_lease(session, gallery, holder)

    try:
        with kept_alive(renew):
            yield holder
    finally:
        with database.writing() as session:
            galleries.release_lease(session, gallery, holder)
