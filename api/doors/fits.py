"""What an evaluation says of match probabilities is kept as a gallery's calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from api.results import PAIRS, Calibration
from retrieval.calibration import method_of, to_parameters
from retrieval.evaluation.calibrating import Fitted
from retrieval.evaluation.measured import Direction
from retrieval.rerank import Reranker
from storage import calibrations
from storage.db import Session
from storage.galleries import Gallery


@dataclass(frozen=True)
class Run:
    """What a run found: both directions, the gallery's revision, how many candidates, and who reranked them."""

    directions: tuple[Direction, ...]
    revision: int
    candidates: int
    reranker: Reranker | None


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
            measured=to_measured(fitted),
            created_at=datetime.now(UTC),
        )
        calibrations.store(session, gallery.id, known)
    return Calibration.of(known, gallery)


def to_measured(fitted: Fitted) -> dict[str, Any]:
    """Write what was measured of a fit."""
    return {name: value for name, value in asdict(fitted).items() if name != "curve"}
