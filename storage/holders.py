"""Holders: the names by which writers and workers hold a lease, so that a dead one on this host is recognised."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from uuid import uuid4

LEASE_SECONDS = 30
"""How long a holder counts as alive that says nothing."""


def new_holder() -> str:
    """Name a writer: host and process, so that a dead one on this host is recognised, and a random part."""
    return f"{socket.gethostname()[:64]}:{os.getpid()}:{_started(os.getpid())}:{uuid4().hex[:8]}"


def is_dead(holder: str) -> bool:
    """Say whether a holder's process ran on this host and is gone; a process id used again started at another time."""
    host, process, started, _ = holder.rsplit(":", 3)
    if host != socket.gethostname()[:64]:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _started(int(process)) != started


@contextmanager
def kept_alive(renew: Callable[[], None]) -> Iterator[None]:
    """Renew a lease three times a term, in a thread, while the work goes on.

    Whatever goes wrong with one renewal may pass by the next; a lease that is lost shows where it is needed.
    """
    done = Event()

    def keep() -> None:
        while not done.wait(LEASE_SECONDS / 3):
            with suppress(Exception):
                renew()

    thread = Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _started(process: int) -> str:
    """Tell one process from a later one of the same number: its start time, where /proc says it."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return "0"
