"""An evaluation's pages as TREC files: a run before and one after reranking, and the judgements, in each direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from api.doors.evaluated import choice_of, finished
from api.errors import UsageError
from api.paths import expanded
from api.wiring import Wiring
from indexer.sources.naming import item_name
from indexer.sources.place import from_source
from retrieval.evaluation import trec
from retrieval.evaluation.benchmark import Benchmark, benchmark
from retrieval.evaluation.pages import DIRECTIONS, from_bytes, scores
from retrieval.models.checkpoints import Scoring
from storage import evaluations, galleries, items
from storage.db import Session
from storage.evaluations import Evaluation
from storage.items import Item

FILES = {"text->image": "text-to-image", "image->text": "image-to-text"}


def export(wiring: Wiring, evaluation_id: int, folder: Path | str) -> list[Path]:
    """Write an evaluation into a folder, and give the files: NAME.qrels, NAME.before.run, NAME.after.run.

    Raises UsageError where the gallery has changed since: its judgements would be others.
    """
    with wiring.database.reading() as session:
        _, stored = finished(session, evaluation_id)
        if stored.digest is None:
            sentence = f"evaluation {stored.id} was made by an older version, which kept no pages: evaluate again"
            raise UsageError("evaluation", sentence)
        bench = benchmark_of(wiring, session, stored)
        place = _made(expanded(folder))
        told = {item_id: body for item_id, (_, body) in items.metadata(session, stored.gallery_id).items()}
        names = _names(bench.known, told)
        return [
            path for direction in DIRECTIONS for path in _direction(session, stored, bench, names, direction, place)
        ]


def benchmark_of(wiring: Wiring, session: Session, stored: Evaluation) -> Benchmark:
    """Give what an evaluation asked again; UsageError where the gallery has changed since."""
    gallery = galleries.by_id(session, stored.gallery_id)
    if gallery.revision != stored.revision:
        sentence = f"gallery {gallery.name} has changed since evaluation {stored.id}: evaluate it again"
        raise UsageError("evaluation", sentence)
    images, texts = (wiring.snapshots.newest(session, gallery, kind) for kind in ("image", "text"))
    return benchmark(session, images, texts, choice_of(stored))


def _made(place: Path) -> Path:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError("trec", f"{place} is no folder to write to: {error.strerror}") from None
    return place


def _direction(
    session: Session, stored: Evaluation, bench: Benchmark, names: Mapping[int, str], direction: str, folder: Path
) -> list[Path]:
    stem = FILES[direction]
    judgements = (
        (names[query], names[item], 1)
        for fold in bench.folds
        for query, right in fold.right[direction].items()
        for item in sorted(right)
    )
    written = [folder / f"{stem}.qrels"]
    trec.write_lines(written[0], trec.qrels_lines(judgements))
    stages: dict[str, Scoring] = {"before": "itc"}
    if stored.settings["rerank"]:
        stages["after"] = stored.settings["scoring"]
    for stage, scoring in stages.items():
        path = folder / f"{stem}.{stage}.run"
        pages = _pages(session, stored, names, direction, scoring)
        trec.write_lines(path, trec.run_lines(pages, tag=f"{stored.model}-{stage}"))
        written.append(path)
    return written


def _pages(
    session: Session, stored: Evaluation, names: Mapping[int, str], direction: str, scoring: Scoring
) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Give pages in the order in which they are served; scores are lowered where they tie, so that it stays."""
    for one in evaluations.pages(session, stored.id, direction):
        rows = from_bytes(one.page)
        rows = rows[rows["rank"] > 0]
        found = scores(rows, scoring)
        order = np.lexsort((rows["rank"], -found))
        order = order[np.isfinite(found[order])]
        lowered = trec.strictly_decreasing(found[order].tolist())
        yield names[one.query_id], list(zip((names[i] for i in rows["item"][order].tolist()), lowered, strict=True))


def _names(known: Mapping[int, Item], told: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """Name items as their sources do; where two would be called alike, with the source's name before, or the id behind.

    No id of a file is a place on this machine: others are to know the same picture by it.
    """
    short = {item_id: item_name(item, told.get(item_id)) for item_id, item in known.items()}
    if _are_apart(known, short):
        return short
    longer = {item_id: f"{_source_name(item.source)}/{short[item_id]}" for item_id, item in known.items()}
    if _are_apart(known, longer):
        return longer
    return {item_id: f"{name}#{item_id}" for item_id, name in short.items()}


def _are_apart(known: Mapping[int, Item], names: Mapping[int, str]) -> bool:
    return len({(known[item_id].kind, name) for item_id, name in names.items()}) == len(names)


def _source_name(source: str) -> str:
    return from_source(source).path.name if source.startswith("/") else source
