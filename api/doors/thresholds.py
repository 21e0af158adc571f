"""What a match probability is worth in a gallery: the fit that makes it, and the threshold that a page is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.doors.ranking import Ranking
from api.errors import UsageError
from api.results import Calibration
from retrieval.calibration import from_parameters
from retrieval.errors import PrecisionOutOfReach, Uncalibrated
from retrieval.evaluation.calibrating import Threshold
from retrieval.rerank import Reranker
from retrieval.types import Hit
from storage import calibrations
from storage.db import Session
from storage.galleries import Gallery

IMAGES, TEXTS = "text->image", "image->text"
"""The directions in which a gallery is searched, by the names that evaluations give them."""


@dataclass(frozen=True)
class Judge:
    """A reranker, the fit behind its match probabilities, and the probability that hits need; each None for none."""

    reranker: Reranker | None
    calibration: Calibration | None = None
    threshold: float | None = None


def judge(session: Session, gallery: Gallery, reranker: Reranker | None, ranking: Ranking, direction: str) -> Judge:
    """Give a reranker the gallery's calibration, and find the threshold that was asked for."""
    if reranker is None:
        return Judge(None)
    matcher = reranker.matcher
    stored = calibrations.find(
        session, gallery.id, matcher=matcher.name, fingerprint=matcher.fingerprint, direction=direction
    )
    if stored is None:
        _require_no_precision(ranking, gallery, matcher.name)
        return Judge(reranker, None, ranking.min_match)
    known = Calibration.of(stored, gallery)
    curve = from_parameters(stored.method, stored.parameters)
    return Judge(replace(reranker, curve=curve), known, _threshold(ranking, gallery, known.thresholds))


def of_gallery(session: Session, gallery: Gallery, direction: str) -> Calibration | None:
    """Give the fit of a gallery's own matcher, whose fingerprint is that of the encoder: both are one model."""
    if gallery.model is None or gallery.fingerprint is None:
        return None
    found = calibrations.find(
        session, gallery.id, matcher=gallery.model, fingerprint=gallery.fingerprint, direction=direction
    )
    return None if found is None else Calibration.of(found, gallery)


def check_threshold(ranking: Ranking, gallery: Gallery, reranker: Reranker | None, *, has_text: bool) -> None:
    """Raise UsageError for a threshold where no match probability is computed that it could be held against."""
    name = ranking.threshold_name
    if name is not None and not has_text:
        raise UsageError(name, f"a picture alone is not reranked: give a text too, or leave out {name}")
    if name is not None and reranker is None:
        reader = gallery.model or "a search of names and captions"
        raise UsageError(name, f"{reader} has no matcher that gives match probabilities; leave out {name}")


def hold(hits: Sequence[Hit], threshold: float | None) -> list[Hit]:
    """Keep the hits that reach a threshold; what nobody judged does not."""
    if threshold is None:
        return list(hits)
    return [hit for hit in hits if hit.match_probability is not None and hit.match_probability >= threshold]


def _threshold(ranking: Ranking, gallery: Gallery, known: Sequence[Threshold]) -> float | None:
    """Choose the lowest threshold whose measured precision is the one that is wanted."""
    wanted = ranking.target_precision
    if wanted is None:
        return ranking.min_match
    enough = [one.threshold for one in known if one.precision >= wanted]
    if not enough:
        raise PrecisionOutOfReach(gallery.name, wanted, max((one.precision for one in known), default=0.0))
    return min(enough)


def _require_no_precision(ranking: Ranking, gallery: Gallery, matcher: str) -> None:
    if ranking.target_precision is not None:
        raise Uncalibrated(gallery.name, matcher)
