"""An evaluation run: the gallery's texts are queries, its pairs the qrels, in both directions.

Every query goes through the first stage and the rerank that serve users; there is no second retrieval path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from retrieval.errors import NoPairs, TooFewHits
from retrieval.evaluation.calibrating import Fitted, Sample, fit
from retrieval.evaluation.measures import RecallCurve, recall_curve, recalls
from retrieval.first_stage import find, vectors_of
from retrieval.models.roles import Encoder
from retrieval.rerank import Judged, Reranker, rerank_images, rerank_texts, unjudged
from storage import items
from storage.db import Session
from storage.snapshots import Snapshot

BATCH = 64


@dataclass(frozen=True)
class Direction:
    """Recall of one direction by the first stage (`before`) and after reranking (None without a matcher).

    `curve` is recall at every depth up to the candidates'. `calibration` is what the matcher's margins say about its
    own hits; None without a matcher, and where there were too few right or wrong hits to tell.
    """

    name: str
    queries: int
    before: dict[str, float]
    after: dict[str, float] | None
    curve: RecallCurve
    calibration: Fitted | None


Asked = tuple[int, list[Judged], list[Judged]]
"""A query's item id, what the first stage found, and the order after reranking: empty where there is none."""

Record = Callable[[str, int, Sequence[Judged]], None]
"""Told what a query found: the direction, the query's item id, and the page in the last order that was made."""


def forget(direction: str, query: int, page: Sequence[Judged]) -> None:
    """Record nothing."""


def run(
    session: Session,
    images: Snapshot,
    texts: Snapshot,
    encoder: Encoder,
    reranker: Reranker | None,
    *,
    candidates: int,
    queries: int | None,
    seed: int,
    synthetic: bool,
    advance: Callable[[int], None],
    record: Record = forget,
    pooled: int | None = None,
) -> list[Direction]:
    """Measure recall from text to image and from image to text.

    `queries` takes a seeded sample of so many queries per direction; every item of the gallery stays a candidate.
    Texts that a model wrote are neither queries nor judgements nor candidates unless `synthetic` asks for them: a
    benchmark must not ask a model for its own captions, nor blame it for finding one. `pooled` is explained at `find`.
    """
    right_images: dict[int, set[int]] = defaultdict(set)
    right_texts: dict[int, set[int]] = defaultdict(set)
    known = {item.id: item for kind in ("image", "text") for item in items.embedded(session, images.gallery.id, kind)}
    if not synthetic:
        texts = texts.without(np.array([item.id for item in known.values() if item.is_synthetic], dtype=np.int64))
    for text_id, image_id in items.pairs(session, images.gallery.id, standings(synthetic)):
        if text_id in known and image_id in known:
            right_images[text_id].add(image_id)
            right_texts[image_id].add(text_id)
    if not right_images:
        raise NoPairs(images.gallery.name)

    def from_text(some: list[int]) -> Iterator[Asked]:
        embeddings = encoder.encode_texts([known[i].text or "" for i in some])[:, None, :]
        pages = find(embeddings, images, candidates, pooled=pooled)
        for i, page in zip(some, pages, strict=True):
            yield i, unjudged(page), rerank_images(known[i].text or "", page, known, reranker) if reranker else []

    def from_image(some: list[int]) -> Iterator[Asked]:
        # The stored vector is the encoder's own: the gallery's fingerprint says so.
        pages = find(vectors_of(images, np.array(some, dtype=np.int64)), texts, candidates)
        wording = {i: item.text or "" for i, item in known.items()}
        left = dict(zip(some, pages, strict=True))
        if reranker:
            for batch, tokens in reranker.tokens.of([known[i] for i in some]):
                for row, item in enumerate(batch):
                    page = left.pop(item.id)
                    yield item.id, unjudged(page), rerank_texts(tokens[row : row + 1], page, wording, reranker)
        for i, page in left.items():
            yield i, unjudged(page), []

    return [
        _measure("text->image", from_text, right_images, reranker, queries, seed, advance, record),
        _measure("image->text", from_image, right_texts, reranker, queries, seed, advance, record),
    ]


def standings(synthetic: bool) -> tuple[str, ...]:
    """Name the pairs that count as judgements."""
    return (items.GIVEN, items.SYNTHETIC) if synthetic else (items.GIVEN,)


def total_queries(session: Session, gallery_id: int, queries: int | None, *, synthetic: bool) -> int:
    """Count the queries that `run` will ask, both directions together."""
    pairs = items.pairs(session, gallery_id, standings(synthetic))
    sides = [len({text_id for text_id, _ in pairs}), len({image_id for _, image_id in pairs})]
    return sum(side if queries is None else min(side, queries) for side in sides)


def _measure(
    name: str,
    ask: Callable[[list[int]], Iterator[Asked]],
    right: dict[int, set[int]],
    reranker: Reranker | None,
    queries: int | None,
    seed: int,
    advance: Callable[[int], None],
    record: Record,
) -> Direction:
    chosen = sorted(right)
    if queries is not None and queries < len(chosen):
        chosen = sorted(Random(seed).sample(chosen, queries))
    before: dict[int, list[int]] = {}
    after: dict[int, list[int]] = {}
    sample = Sample()
    for start in range(0, len(chosen), BATCH):
        some = chosen[start : start + BATCH]
        for query, first, second in ask(some):
            before[query], after[query] = _ids(first), _ids(second)
            record(name, query, second if reranker else first)
            sample.add(second, right[query])
            # One by one: whoever watches may want to end this, and a batch that is reranked can take minutes.
            advance(1)
    qrels = {query: right[query] for query in chosen}
    return Direction(
        name,
        len(chosen),
        before=recalls(before, qrels),
        after=recalls(after, qrels) if reranker else None,
        curve=recall_curve(before, after if reranker else None, qrels),
        calibration=_calibration(sample),
    )


def _calibration(sample: Sample) -> Fitted | None:
    try:
        return fit(sample)
    except TooFewHits:
        return None


def _ids(judged: Iterable[Judged]) -> list[int]:
    return [one.candidate.item_id for one in judged]
