"""The lease of a gallery's writer, kept alive by a thread while the work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from storage import galleries
from storage.db import Database
from storage.galleries import Gallery


@contextmanager
def write_lease(database: Database, gallery: Gallery) -> Iterator[str]:
    """Hold the gallery's lease; gives the holder's name, with which every publishing transaction checks it again."""
    holder = galleries.new_holder()
    with database.writing() as session:
        galleries.acquire_lease(session, gallery, holder)
    done = Event()
    thread = Thread(target=_keep, args=(database, gallery, holder, done), daemon=True)
    thread.start()
    try:
        yield holder
    finally:
        done.set()
        thread.join()
        with database.writing() as session:
            galleries.release_lease(session, gallery, holder)


def _keep(database: Database, gallery: Gallery, holder: str, done: Event) -> None:
    """Renew the lease three times a term; when it is lost, the next publishing transaction says so."""
    while not done.wait(galleries.LEASE_SECONDS / 3):
        # Whatever goes wrong here may pass by the next turn; if not, publishing fails on the lost lease.
        with suppress(Exception), database.writing() as session:
            galleries.renew_lease(session, gallery, holder)
