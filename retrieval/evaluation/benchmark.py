"""A gallery with pairs as a benchmark: its texts and pictures are queries, its pairs say what is right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random

import numpy as np

from retrieval.errors import NoPairs, TooFewPictures, UnknownSplit
from retrieval.evaluation.pages import IMAGES, TEXTS
from storage import items
from storage.db import Session
from storage.items import Item
from storage.snapshots import Snapshot

Right = Mapping[int, frozenset[int]]
"""Query id to the ids of the items that are right."""


@dataclass(frozen=True)
class Choice:
    """What of a gallery is measured.

    `split` takes the pictures of one split, `subset` a seeded sample of so many, each with their texts, as if there was
    nothing else. `folds` cuts the pictures, in the order in which they were indexed, into so many galleries of one
    size, as the five folds of 1,000 pictures of COCO (Karpathy and Fei-Fei 2015, section 4.2); a text of pictures in
    several folds is a candidate in each and asks in the first, so that no query counts twice. `queries` takes a seeded
    sample of so many queries per direction; every item stays a candidate. Texts that a model wrote are neither queries
    nor candidates unless `synthetic`: a benchmark must not ask a model for its own captions.
    """

    split: str | None = None
    subset: int | None = None
    folds: int = 1
    queries: int | None = None
    seed: int = 0
    synthetic: bool = False


@dataclass(frozen=True)
class Fold:
    """One gallery to search: its two sides, and what is right for each query that is asked of it."""

    number: int
    images: Snapshot
    texts: Snapshot
    right: Mapping[str, Right]

    def pool(self, direction: str) -> Snapshot:
        """The side that a direction searches."""
        return self.images if direction == IMAGES else self.texts


@dataclass(frozen=True)
class Benchmark:
    """All folds, and the items by id."""

    folds: tuple[Fold, ...]
    known: Mapping[int, Item]

    def queries(self, direction: str) -> int:
        """Count the queries of a direction."""
        return sum(len(fold.right[direction]) for fold in self.folds)

    def pool(self, direction: str) -> int:
        """Count the items that a query of a direction chooses from: those of one fold."""
        return max(fold.pool(direction).items for fold in self.folds)


def benchmark(session: Session, images: Snapshot, texts: Snapshot, choice: Choice) -> Benchmark:
    """Read a gallery's pairs as queries and what is right for them.

    Raises NoPairs, UnknownSplit for a split of no picture with a text, TooFewPictures for more folds than pictures.
    """
    gallery = images.gallery
    known = {item.id: item for kind in ("image", "text") for item in items.embedded(session, gallery.id, kind)}
    if not choice.synthetic:
        texts = texts.without(np.array([item.id for item in known.values() if item.is_synthetic], dtype=np.int64))
    pairs = [pair for pair in items.pairs(session, gallery.id, standings(choice)) if set(pair) <= known.keys()]
    if not pairs:
        raise NoPairs(gallery.name)
    chosen = sorted({image_id for _, image_id in pairs})
    if choice.split is not None:
        chosen = _of_split(session, gallery.id, gallery.name, chosen, choice.split)
    if choice.subset is not None and choice.subset < len(chosen):
        chosen = sorted(Random(choice.seed).sample(chosen, choice.subset))
    is_whole = choice.split is None and choice.subset is None and choice.folds == 1
    if choice.folds > len(chosen):
        raise TooFewPictures(gallery.name, len(chosen), choice.folds)
    parts = [part.tolist() for part in np.array_split(np.array(chosen, dtype=np.int64), choice.folds)]
    asked: set[int] = set()
    folds: list[Fold] = []
    for number, part in enumerate(parts):
        folds.append(_fold(number, images, texts, pairs, None if is_whole else part, choice, asked))
        inside = set(part)
        asked |= {text_id for text_id, image_id in pairs if image_id in inside}
    return Benchmark(tuple(folds), known)


def standings(choice: Choice) -> tuple[str, ...]:
    """Name the pairs that count as judgements."""
    return (items.GIVEN, items.SYNTHETIC) if choice.synthetic else (items.GIVEN,)


def _of_split(session: Session, gallery_id: int, name: str, chosen: list[int], split: str) -> list[int]:
    said = {item_id: one for item_id, (one, _) in items.metadata(session, gallery_id).items()}
    of_split = [image_id for image_id in chosen if said.get(image_id) == split]
    if not of_split:
        raise UnknownSplit(name, split, sorted({one for i in chosen if (one := said.get(i)) is not None}))
    return of_split


def _fold(
    number: int,
    images: Snapshot,
    texts: Snapshot,
    pairs: Collection[tuple[int, int]],
    part: list[int] | None,
    choice: Choice,
    asked: Collection[int],
) -> Fold:
    """Make one fold; the texts that were `asked` in another are candidates here, and no queries."""
    right_images: dict[int, set[int]] = defaultdict(set)
    right_texts: dict[int, set[int]] = defaultdict(set)
    inside = None if part is None else set(part)
    for text_id, image_id in pairs:
        if inside is None or image_id in inside:
            right_images[text_id].add(image_id)
            right_texts[image_id].add(text_id)
    if inside is not None:
        images, texts = _only(images, inside), _only(texts, right_images.keys())
    asking = {text_id: found for text_id, found in right_images.items() if text_id not in asked}
    share = None if choice.queries is None else -(-choice.queries // choice.folds)
    right = {
        direction: _sample(found, share, choice.seed) for direction, found in ((IMAGES, asking), (TEXTS, right_texts))
    }
    return Fold(number, images, texts, right)


def _only(snapshot: Snapshot, ids: Collection[int]) -> Snapshot:
    wanted = np.fromiter(ids, dtype=np.int64, count=len(ids))
    others = [part.ids[~np.isin(part.ids, wanted)] for part in snapshot.parts]
    return snapshot.without(np.concatenate([np.zeros(0, dtype=np.int64), *others]))


def _sample(right: Mapping[int, set[int]], queries: int | None, seed: int) -> Right:
    chosen = sorted(right)
    if queries is not None and queries < len(chosen):
        chosen = sorted(Random(seed).sample(chosen, queries))
    return {query: frozenset(right[query]) for query in chosen}
