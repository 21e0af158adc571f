"""Where image tokens come from: one door, with a cache of bounded size behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Protocol

import numpy as np
from cachetools import LRUCache
from PIL.Image import Image

from retrieval.errors import PictureGone
from retrieval.models.roles import Matcher
from retrieval.types import Float32, UInt8
from storage.items import Item


class Pictures(Protocol):
    """Who can show the picture of an item, as it was when it was indexed."""

    def is_current(self, item: Item) -> bool:
        """Say whether the file is there, with the size and time it had when it was indexed."""
        ...

    def open(self, item: Item) -> Image:
        """Decode the item's picture, or raise PictureGone when it is missing, changed or unreadable."""
        ...


class ImageTokens:
    """A matcher's image tokens of items: remembered by content, else made from the picture."""

    def __init__(self, matcher: Matcher, pictures: Pictures, *, cache_bytes: int, batch: int) -> None:
        """Remember at most `cache_bytes` of tokens; encode `batch` pictures at a time."""
        self._matcher, self._pictures, self._batch = matcher, pictures, batch
        self._cache: LRUCache[str, Float32] = LRUCache(cache_bytes, getsizeof=lambda tokens: tokens.nbytes)
        self._lock = Lock()

    def of(self, items: Sequence[Item]) -> Iterator[tuple[list[Item], Float32]]:
        """Give items with their tokens `float32 [n, t, c]`, a batch at a time; stale items are left out.

        The file is looked at first even where the tokens are remembered: a page must not show what is gone.
        """
        current = [item for item in items if self._pictures.is_current(item)]
        for start in range(0, len(current), self._batch):
            some = current[start : start + self._batch]
            tokens = self._remembered_or_made(some)
            kept = [item for item in some if item.id in tokens]
            if kept:
                yield kept, np.stack([tokens[item.id] for item in kept])

    def _remembered_or_made(self, items: Sequence[Item]) -> dict[int, Float32]:
        with self._lock:
            known = {item.id: self._cache.get(_key(item)) for item in items}
        tokens = {item_id: found for item_id, found in known.items() if found is not None}
        if len(tokens) == len(items):
            return tokens
        missing = [item for item in items if item.id not in tokens]
        pixels = {item.id: picture for item in missing if (picture := self._prepare(item)) is not None}
        if not pixels:
            return tokens
        made = dict(zip(pixels, self._matcher.image_tokens(np.stack(list(pixels.values()))), strict=True))
        with self._lock:
            for item in missing:
                # A picture larger than the whole cache is not an error: it is just not remembered.
                if item.id in made and made[item.id].nbytes <= self._cache.maxsize:
                    self._cache[_key(item)] = made[item.id].copy()
        return tokens | made

    def _prepare(self, item: Item) -> UInt8 | None:
        """Resize the item's picture; None when it vanished between the check and now."""
        try:
            return self._matcher.prepare(self._pictures.open(item))
        except PictureGone:
            return None


def _key(item: Item) -> str:
    return item.content_hash or f"item {item.id}"
