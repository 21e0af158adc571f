"""A gallery with pairs is measured, and the result is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from api.doors.pages import require_model
from api.doors.ranking import Ranking
from api.results import PAIRS, Calibration, Evaluated, MeasuredDirection
from api.wiring import Wiring
from indexer.build import Progress
from retrieval.calibration import method_of, to_parameters
from retrieval.evaluation import run as evaluation
from retrieval.evaluation.calibrating import Fitted
from retrieval.evaluation.measures import RecallCurve
from retrieval.evaluation.run import Direction
from retrieval.rerank import Reranker
from storage import calibrations, evaluations
from storage.db import Session
from storage.evaluations import Evaluation
from storage.galleries import Gallery

LEAST_CANDIDATES = 10
"""recall@10 needs ten places, however few are reranked."""


@dataclass(frozen=True)
class Run:
    """What a run found: both directions, the gallery's revision, how many candidates, and who reranked them."""

    directions: tuple[Direction, ...]
    revision: int
    candidates: int
    reranker: Reranker | None


def evaluate(
    wiring: Wiring,
    gallery: Gallery,
    ranking: Ranking,
    *,
    queries: int | None,
    seed: int,
    synthetic: bool = False,
    progress: Progress,
) -> Evaluated:
    """Measure recall@1/5/10 in both directions over the gallery's pairs, and store the result.

    Pairs that a model wrote count where `synthetic` asks for them. What the run says of match probabilities is kept for
    searches too, unless fewer candidates were read than usual, or more queries have said it of the same revision.
    """
    model = require_model(gallery, "an evaluation")
    done = run(wiring, gallery, ranking, queries=queries, seed=seed, synthetic=synthetic, progress=progress)
    judge = None if done.reranker is None else done.reranker.matcher.name
    settings: dict[str, Any] = {"candidates": done.candidates, "rerank": judge is not None, "queries": queries}
    settings |= {"seed": seed}
    unusual = {"synthetic": synthetic, "matcher": None if judge == model else judge, "pooled": ranking.pooled}
    settings |= {name: value for name, value in unusual.items() if value}
    with wiring.database.writing() as session:
        stored = evaluations.store(
            session,
            gallery.id,
            revision=done.revision,
            model=model,
            settings=settings,
            measures={one.name: _measures(one) for one in done.directions},
        )
    if not synthetic and done.candidates >= wiring.depth_of_evaluation(gallery, ranking.matcher):
        with wiring.database.writing() as session:
            keep_fits(session, gallery, done, only_better=True)
    return _evaluated(gallery, stored)


def run(
    wiring: Wiring,
    gallery: Gallery,
    ranking: Ranking,
    *,
    queries: int | None,
    seed: int,
    synthetic: bool = False,
    progress: Progress,
) -> Run:
    """Ask a gallery's texts for its pictures and its pictures for their texts, and keep nothing of it."""
    require_model(gallery, "an evaluation")
    encoder = wiring.encoder_of(gallery)
    reranker = wiring.reranker_of(gallery, ranking.matcher) if ranking.rerank else None
    depth = max(ranking.depth(wiring.depth_of_evaluation(gallery, ranking.matcher)), LEAST_CANDIDATES)
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
            pooled=ranking.pooled,
        )
    return Run(tuple(directions), images.revision, depth, reranker)


def of_gallery(session: Session, gallery: Gallery) -> list[Evaluated]:
    """List what was measured of a gallery, the newest first."""
    return [_evaluated(gallery, stored) for stored in evaluations.of_gallery(session, gallery.id)]


def keep_fits(session: Session, gallery: Gallery, done: Run, *, only_better: bool = False) -> list[Calibration]:
    """Keep what a run says of match probabilities, direction by direction, and give what is kept.

    `only_better` leaves a fit in place that more queries made of the same revision.
    """
    if done.reranker is None:
        return []
    found = ((one.name, one.calibration) for one in done.directions if one.calibration is not None)
    return [
        keep_fit(session, gallery, done.reranker, fitted, name, PAIRS, done.revision, only_better=only_better)
        for name, fitted in found
    ]


def keep_fit(
    session: Session,
    gallery: Gallery,
    reranker: Reranker,
    fitted: Fitted,
    direction: str,
    source: str,
    revision: int,
    *,
    only_better: bool = False,
) -> Calibration:
    """Keep one fit of a matcher, and give what is kept then."""
    matcher = reranker.matcher
    known = calibrations.find(
        session, gallery.id, matcher=matcher.name, fingerprint=matcher.fingerprint, direction=direction
    )
    is_worse = known is not None and known.revision == revision and known.measured["queries"] > fitted.queries
    if known is None or not (only_better and is_worse):
        known = calibrations.Calibration(
            matcher=matcher.name,
            fingerprint=matcher.fingerprint,
            direction=direction,
            revision=revision,
            source=source,
            method=method_of(fitted.curve),
            parameters=to_parameters(fitted.curve),
            measured=_measured(fitted),
            created_at=datetime.now(UTC),
        )
        calibrations.store(session, gallery.id, known)
    return Calibration.of(known, gallery)


def _measures(one: Direction) -> dict[str, Any]:
    """Write a direction as it is stored."""
    fitted = one.calibration
    calibration = None if fitted is None else {"method": method_of(fitted.curve), "measured": _measured(fitted)}
    return {
        "queries": one.queries,
        "before": one.before,
        "after": one.after,
        "curve": asdict(one.curve),
        "calibration": calibration,
    }


def _measured(fitted: Fitted) -> dict[str, Any]:
    return {name: value for name, value in asdict(fitted).items() if name != "curve"}


def _evaluated(gallery: Gallery, stored: Evaluation) -> Evaluated:
    """Read a stored evaluation; older ones know less."""
    matcher = stored.settings.get("matcher") or (stored.model if stored.settings["rerank"] else None)
    directions = [
        MeasuredDirection(
            name=name,
            queries=measures.get("queries"),
            before=measures["before"],
            after=measures["after"],
            curve=RecallCurve(**measures["curve"]) if "curve" in measures else None,
            calibration=_calibration(gallery, stored, matcher, name, measures.get("calibration")),
        )
        for name, measures in stored.measures.items()
    ]
    return Evaluated(
        id=stored.id,
        gallery=gallery.name,
        model=stored.model,
        matcher=matcher,
        revision=stored.revision,
        candidates=stored.settings["candidates"],
        pooled=stored.settings.get("pooled"),
        directions=tuple(directions),
        created_at=stored.created_at,
    )


def _calibration(
    gallery: Gallery, stored: Evaluation, matcher: str | None, direction: str, found: dict[str, Any] | None
) -> Calibration | None:
    if found is None or matcher is None:
        return None
    return Calibration(
        matcher=matcher,
        direction=direction,
        source=PAIRS,
        method=found["method"],
        revision=stored.revision,
        is_current=stored.revision == gallery.revision,
        created_at=stored.created_at,
        **Calibration.measured(found["measured"]),
    )
