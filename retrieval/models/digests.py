"""SHA-256 of weights files: read once per process, recorded at the first use of a download, checked afterwards.

A record is a line as sha256sum writes it, in `digests/` of Sightline's cache, under the address that the file came
from: a file that is deleted and downloaded again must be what it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from pathlib import Path

from retrieval.errors import WeightsChanged
from retrieval.models import cache

# Device, inode, size and time of change: a rename keeps them, writing does not.
Identity = tuple[int, int, int, int]

# A file that is written twice within the clock's grain shows one time; what is so new is not remembered.
GRAIN_SECONDS = 0.1

_SHA256 = re.compile(r"[0-9a-f]{64}")
_known: dict[tuple[Identity, ...], str] = {}


def sha256(*files: Path) -> str:
    """Digest files, one after the other: what did not change since is not read again.

    Asking for several answers for each of them alone, too.
    """
    identities = tuple(_identity(file) for file in files)
    if identities in _known:
        return _known[identities]
    together, each = _read(files)
    found = {identities: together} | {(identity,): one for identity, one in zip(identities, each, strict=True)}
    after = {_identity(file) for file in files}
    _known.update({key: one for key, one in found.items() if after.issuperset(key) and all(map(_is_settled, key))})
    return together


def check(file: Path, origin: str) -> None:
    """Record a downloaded file at its first use; later a file of this origin with another digest is WeightsChanged.

    `origin` is the address that it came from. The hub's cache names large files by their digest: that counts from
    the first use on.
    """
    record = record_of(origin)
    found, recorded = sha256(file), _recorded(record)
    named = file.resolve().name
    if _SHA256.fullmatch(named) and found != named:
        raise WeightsChanged(file.resolve(), found=found, expected=named, record=None)
    if recorded is not None and found != recorded:
        raise WeightsChanged(file.resolve(), found=found, expected=recorded, record=record)
    if recorded is None:
        # A cache that cannot be written loses the record, not the model.
        with contextlib.suppress(OSError):
            cache.write(record, f"{found}  {file.resolve()}\n".encode())


def record_of(origin: str) -> Path:
    """The file that holds what a download was at its first use."""
    place = cache.place("digests", origin)
    return place.with_name(f"{place.name}.sha256")


def _read(files: tuple[Path, ...]) -> tuple[str, list[str]]:
    """The digest of all files together and that of each, in one pass."""
    together, each = hashlib.sha256(), []
    for file in files:
        alone = hashlib.sha256() if len(files) > 1 else together
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                for sha in {together, alone}:
                    sha.update(block)
        each.append(alone.hexdigest())
    return together.hexdigest(), each


def _identity(file: Path) -> Identity:
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_settled(identity: Identity) -> bool:
    return abs(time.time_ns() - identity[3]) > GRAIN_SECONDS * 1e9


def _recorded(record: Path) -> str | None:
    """The digest in a record; none where there is no record, or none that makes sense."""
    try:
        first = record.read_text(encoding="utf-8").split()[:1]
    except (OSError, ValueError):
        return None
    return first[0] if first and _SHA256.fullmatch(first[0]) else None
