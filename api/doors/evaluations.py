"""A gallery with pairs is measured, and the result is kept."""

from __future__ import annotations

from typing import Any

from api.doors.pages import require_model
from api.doors.ranking import Ranking
from api.results import Evaluated
from api.wiring import Wiring
from indexer.build import Progress
from retrieval.evaluation import run as evaluation
from storage import evaluations
from storage.galleries import Gallery

LEAST_CANDIDATES = 10
"""recall@10 needs ten places, however few are reranked."""


def evaluate(
    wiring: Wiring,
    gallery: Gallery,
    *,
    candidates: int | None,
    rerank: bool,
    queries: int | None,
    seed: int,
    synthetic: bool = False,
    matcher: str | None = None,
    pooled: int | None = None,
    progress: Progress,
) -> Evaluated:
    """Measure recall@1/5/10 in both directions over the gallery's pairs, and store the result.

    Pairs that a model wrote count where `synthetic` asks for them. `matcher` and `pooled` are those of a search.
    """
    ranking = Ranking(LEAST_CANDIDATES, candidates, rerank, matcher, pooled)
    model = require_model(gallery, "an evaluation")
    encoder = wiring.encoder_of(gallery)
    reranker = wiring.reranker_of(gallery, matcher) if rerank else None
    depth = max(ranking.depth(wiring.depth(gallery, matcher)), LEAST_CANDIDATES)
    with wiring.database.reading() as session:
        images = wiring.snapshots.newest(session, gallery, "image")
        texts = wiring.snapshots.newest(session, gallery, "text")
        progress.begin("queries", evaluation.total_queries(session, gallery.id, queries, synthetic=synthetic))
        directions = evaluation.run(
            session,
            images,
            texts,
            encoder,
            reranker,
            candidates=depth,
            queries=queries,
            seed=seed,
            synthetic=synthetic,
            advance=progress.advance,
            pooled=pooled,
        )
    judge = None if reranker is None else reranker.matcher.name
    settings: dict[str, Any] = {"candidates": depth, "rerank": judge is not None, "queries": queries, "seed": seed}
    unusual = {"synthetic": synthetic, "matcher": None if judge == model else judge, "pooled": pooled}
    settings |= {name: value for name, value in unusual.items() if value}
    measures = {one.name: {"before": one.before, "after": one.after} for one in directions}
    with wiring.database.writing() as session:
        stored = evaluations.store(
            session, gallery.id, revision=images.revision, model=model, settings=settings, measures=measures
        )
    return Evaluated(stored, gallery.name, model, judge, images.revision, depth, pooled, tuple(directions))
