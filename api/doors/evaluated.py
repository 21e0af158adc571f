"""How an evaluation is written down, and read again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from api.doors.fits import to_measured
from api.errors import UsageError
from api.results import PAIRS, Calibration, Evaluated, EvaluationRow, MeasuredDirection
from api.wiring import Wiring
from retrieval.calibration import method_of
from retrieval.evaluation.benchmark import Choice
from retrieval.evaluation.measured import Depths, Direction, QueryRank
from retrieval.evaluation.measures import CUTOFFS, RecallCurve, mean_recall
from retrieval.evaluation.pages import DIRECTIONS
from storage import evaluations, galleries
from storage.db import Session
from storage.evaluations import Evaluation
from storage.galleries import Gallery


def by_id(wiring: Wiring, evaluation_id: int) -> Evaluated:
    """Read an evaluation that is done."""
    with wiring.database.reading() as session:
        gallery, stored = finished(session, evaluation_id)
    return evaluated(gallery, stored)


def finished(session: Session, evaluation_id: int) -> tuple[Gallery, Evaluation]:
    """Read an evaluation of recall that has come to its end, and its gallery; else raise UsageError."""
    stored = evaluations.by_id(session, evaluation_id)
    gallery = galleries.by_id(session, stored.gallery_id)
    if stored.task != "retrieval":
        raise UsageError("evaluation", f"evaluation {stored.id} measures {stored.task}; this needs one of retrieval")
    if stored.state != evaluations.DONE:
        raise UsageError(
            "evaluation",
            f"evaluation {stored.id} has not come to its end: `sightline evaluate {gallery.name} --resume` with the "
            "same settings goes on with it",
        )
    return gallery, stored


def choice_of(stored: Evaluation) -> Choice:
    """Read what of the gallery an evaluation measured."""
    known = stored.settings
    return Choice(
        split=known.get("split"),
        subset=known.get("subset"),
        folds=known.get("folds", 1),
        queries=known.get("queries"),
        seed=known.get("seed", 0),
        synthetic=known.get("synthetic", False),
    )


def forget(wiring: Wiring, evaluation_id: int) -> None:
    """Forget an evaluation with its pages."""
    with wiring.database.writing() as session:
        evaluations.by_id(session, evaluation_id)
        evaluations.remove(session, evaluation_id)


def rows(session: Session, gallery: Gallery) -> list[EvaluationRow]:
    """List all evaluations of a gallery, the newest first: of every task, done or not."""
    found = []
    for stored in evaluations.of_gallery(session, gallery.id, unfinished=True):
        is_recall = stored.task == "retrieval"
        known = evaluated(gallery, stored) if is_recall else None
        found.append(
            EvaluationRow(
                id=stored.id,
                task=stored.task,
                state=stored.state,
                model=stored.model,
                matcher=known.matcher if known else None,
                protocol=stored.protocol,
                candidates=known.candidates if known else None,
                scope=known.scope if known else (),
                mean_recall=known.mean_recall if known else {},
                seconds=stored.seconds,
                created_at=stored.created_at,
            )
        )
    return found


def of_task(wiring: Wiring, evaluation_id: int) -> dict[str, Any] | None:
    """Read what an evaluation of another task than recall measured; None for one of recall."""
    with wiring.database.reading() as session:
        stored = evaluations.by_id(session, evaluation_id)
        name = galleries.by_id(session, stored.gallery_id).name
    if stored.task == "retrieval":
        return None
    return {"id": stored.id, "gallery": name, "task": stored.task, **stored.measures}


def of_gallery(session: Session, gallery: Gallery) -> list[Evaluated]:
    """List what was measured of a gallery, the newest first."""
    found = evaluations.of_gallery(session, gallery.id)
    return [evaluated(gallery, stored) for stored in found if stored.task == "retrieval"]


def to_measures(directions: Iterable[Direction]) -> dict[str, Any]:
    """Write directions as they are stored."""
    return {one.name: _direction(one) for one in directions}


def _direction(one: Direction) -> dict[str, Any]:
    fitted = one.calibration
    stages = {"before": one.before, "after": one.after}
    return {
        "queries": one.queries,
        "items": one.items,
        **{stage: None if found is None else _finite(found.measures) for stage, found in stages.items()},
        "intervals": {
            stage: {name: [_number(found.low), _number(found.high)] for name, found in measures.intervals.items()}
            for stage, measures in stages.items()
            if measures is not None
        },
        "authors": one.authors,
        "scores": one.scores,
        "misses": one.misses,
        "folds": list(one.folds),
        "curve": asdict(one.curve),
        "depths": None if one.depths is None else asdict(one.depths),
        "milliseconds": one.milliseconds,
        "calibration": None if fitted is None else {"method": method_of(fitted.curve), "measured": to_measured(fitted)},
        "unread": one.unread,
        "best": [asdict(query) for query in one.best],
        "worst": [asdict(query) for query in one.worst],
    }


def _finite(measures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in measures.items()}


def _number(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def evaluated(gallery: Gallery, stored: Evaluation) -> Evaluated:
    """Read a stored evaluation; older ones know less."""
    settings = stored.settings
    matcher = settings.get("matcher") or (stored.model if settings["rerank"] else None)
    directions = tuple(_measured(gallery, stored, matcher, name, found) for name, found in stored.measures.items())
    return Evaluated(
        id=stored.id,
        gallery=gallery.name,
        model=stored.model,
        matcher=matcher,
        revision=stored.revision,
        candidates=settings["candidates"],
        pooled=settings.get("pooled"),
        directions=directions,
        created_at=stored.created_at,
        protocol=stored.protocol,
        departures=tuple(settings.get("departures", ())),
        scoring=settings.get("scoring"),
        settings=settings,
        fingerprint=stored.fingerprint,
        matcher_fingerprint=stored.matcher_fingerprint,
        versions=stored.versions or {},
        seconds=stored.seconds,
        mean_recall=_mean_recall(directions),
        finished_at=stored.finished_at,
    )


def _mean_recall(directions: Iterable[MeasuredDirection]) -> dict[str, float]:
    """Average recall@1, @5 and @10 of both directions, before and after reranking."""
    found: dict[str, float] = {}
    for stage in ("before", "after"):
        measures = [one.before if stage == "before" else one.after for one in directions]
        recalls = [[one.get(f"recall@{k}") or 0.0 for k in CUTOFFS] for one in measures if one is not None]
        if len(recalls) == len(DIRECTIONS):
            found[stage] = mean_recall(*recalls)
    return found


def _measured(
    gallery: Gallery, stored: Evaluation, matcher: str | None, name: str, found: dict[str, Any]
) -> MeasuredDirection:
    extremes = {one: tuple(QueryRank(**query) for query in found.get(one, ())) for one in ("best", "worst")}
    intervals = {
        stage: {measure: (low, high) for measure, (low, high) in measures.items()}
        for stage, measures in found.get("intervals", {}).items()
    }
    depths = found.get("depths")
    return MeasuredDirection(
        name=name,
        queries=found.get("queries"),
        before=found["before"],
        after=found["after"],
        curve=RecallCurve(**found["curve"]) if "curve" in found else None,
        calibration=_calibration(gallery, stored, matcher, name, found.get("calibration")),
        intervals=intervals,
        folds=tuple(found.get("folds", ())),
        depths=None if depths is None else Depths(**depths),
        items=found.get("items"),
        authors=found.get("authors", {}),
        scores=found.get("scores", {}),
        misses=found.get("misses", {}),
        milliseconds=found.get("milliseconds", {}),
        unread=found.get("unread", 0),
        best=extremes["best"],
        worst=extremes["worst"],
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
