"""Sightline's own cache: where files from the authors' addresses lie, and how a small file appears there whole.

files/<host>/<path>             what was downloaded, once, for whichever checkpoints share it
checkpoints/<name>/             config.json and vocab.txt of a checkpoint whose weights are in files/
digests/<host>/<path>.sha256    what a downloaded file was at its first use
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import get_ident
from urllib.parse import quote, unquote, urlsplit


def folder() -> Path:
    """The cache of this user; asked for at every use, as the environment may name another."""
    import platformdirs  # what a machine that only trains or measures may lack

    return platformdirs.user_cache_path("sightline")


def place(room: str, address: str) -> Path:
    """Where something of an address lies: a path made of host and path, one for each address."""
    parts = urlsplit(address)
    names = [parts.netloc.rpartition("@")[2].lower(), *parts.path.split("/")]
    if parts.query:
        names[-1] += f"?{parts.query}"
    return folder().joinpath(room, *(_safe(name) for name in names if name))


def write(file: Path, content: bytes) -> None:
    """Put a small file in place, whole or not at all; the same content again is not written."""
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two threads may write the same file at once: each writes its own, and the last one stays.
    written = file.with_name(f"{file.name}.{os.getpid()}-{get_ident()}.tmp")
    try:
        with written.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(written, file)
    finally:
        written.unlink(missing_ok=True)


def _safe(name: str) -> str:
    """A name that every file system takes; dots alone would lead out of the folder."""
    quoted = quote(unquote(name), safe="")
    return quoted.replace(".", "%2E") if set(quoted) == {"."} else quoted
