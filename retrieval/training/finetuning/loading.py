"""Pictures of coming batches, opened and augmented in threads while the present batch is trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import numpy as np

from retrieval.models.preprocess import resize
from retrieval.training.finetuning.augment import augmented
from retrieval.training.finetuning.examples import Picture
from retrieval.types import UInt8

AHEAD = 2
"""Batches that are prepared ahead."""


@dataclass(frozen=True)
class View:
    """A picture as a batch wants it; what augmentation does follows from `seed` alone, None leaves it out."""

    picture: Picture
    seed: str | None
    may_mirror: bool

    def pixels(self, size: int) -> UInt8:
        """Open the picture: `uint8 [size, size, 3]`."""
        image = self.picture.open()
        if self.seed is None:
            return resize(image, size)
        return augmented(image, size, Random(self.seed), may_mirror=self.may_mirror)


def stacks(batches: Iterable[Sequence[View]], *, size: int, threads: int) -> Generator[UInt8, None, None]:
    """Give for every batch its pictures, `uint8 [n, size, size, 3]`, in order; a picture that fails raises."""
    waiting: deque[list[Future[UInt8]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
    try:
        for views in batches:
            waiting.append([pool.submit(view.pixels, size) for view in views])
            if len(waiting) > AHEAD:
                yield np.stack([view.result() for view in waiting.popleft()])
        while waiting:
            yield np.stack([view.result() for view in waiting.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)
