"""What has to be looked at in a folder, and the looking: hash a file, and decode it unless its vector is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from indexer.decode import content_hash, decode, may_pass
from indexer.errors import DecodeFailed
from indexer.sources.folder import FailedRecord, FileRecord, Record
from storage.items import Item

UInt8 = NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Task:
    """A file that has to be looked at, and the item that stands for its name so far."""

    record: FileRecord
    old: Item | None


@dataclass
class Scan:
    """A folder against SQL: files to look at, items whose file is gone, and what stayed or failed before."""

    tasks: list[Task] = field(default_factory=list)
    gone: dict[str, Item] = field(default_factory=dict)
    found: int = 0
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[FailedRecord] = field(default_factory=list)

    def gone_by_content(self) -> dict[str | None, list[Item]]:
        """Group the items whose file is gone by content: a new file with such a content is a renamed one."""
        moved: dict[str | None, list[Item]] = defaultdict(list)
        for item in self.gone.values():
            moved[item.content_hash].append(item)
        return moved


@dataclass(frozen=True)
class Examined:
    """A file that was looked at: its content hash, and its pixels and size, or the reason why it has none."""

    task: Task
    content_hash: str | None
    pixels: UInt8 | None = None
    size: tuple[int, int] | None = None
    reason: str | None = None


def compare(records: Iterable[Record], known: dict[str, Item], is_current: Callable[[Item], bool]) -> Scan:
    """Compare files with items by name, size and time.

    `is_current` says whether an item needs nothing more. What lies below an unreadable folder is neither gone nor new.
    """
    scan = Scan(gone=dict(known))
    for record in records:
        scan.found += 1
        old = scan.gone.pop(record.uri, None)
        if isinstance(record, FailedRecord):
            scan.unreadable.append(record)
            continue
        if old is None or (old.size, old.mtime_ns) != (record.size, record.mtime_ns):
            scan.tasks.append(Task(record, old))
        elif old.state == "failed" and not may_pass(old.reason or ""):
            scan.failed.append((old.uri, old.reason or ""))
        elif is_current(old):
            scan.unchanged += 1
        else:
            scan.tasks.append(Task(record, old))
    unreadable = {record.uri.rstrip("/") for record in scan.unreadable}
    scan.gone = {uri: item for uri, item in scan.gone.items() if not _lies_below(uri, unreadable)}
    return scan


def _lies_below(uri: str, folders: Collection[str]) -> bool:
    """Whether a file lies below one of some folders: asked of its own folders, since there may be many others."""
    while folders and "/" in uri:
        uri = uri.rpartition("/")[0]
        if uri in folders:
            return True
    return False


def examine(
    task: Task, *, embedded: Collection[str | None], prepare: Callable[[Image], UInt8] | None, pixel_limit: int
) -> Examined:
    """Hash a file and decode it; a content whose vector is known is not decoded again."""
    digest = None
    try:
        digest = content_hash(task.record.path)
        if digest in embedded:
            return Examined(task, digest)
        image = decode(task.record.path, pixel_limit=pixel_limit)
    except DecodeFailed as error:
        return Examined(task, digest, reason=error.reason)
    try:
        return Examined(task, digest, pixels=prepare(image) if prepare else None, size=image.size)
    except (MemoryError, ValueError) as error:
        return Examined(task, digest, reason=f"cannot be resized: {error or 'out of memory'}")


def ahead(function: Callable[[T], R], values: Iterable[T], *, threads: int, depth: int) -> Iterator[R]:
    """Map in threads, in order, at most `depth` results ahead of the reader: memory stays bounded."""
    waiting: list[Future[R]] = []
    executor = ThreadPoolExecutor(threads)
    try:
        for value in values:
            waiting.append(executor.submit(function, value))
            if len(waiting) >= depth:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
