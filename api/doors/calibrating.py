"""Match probabilities are held against a gallery's pairs, or against captions that a model writes; the fit is kept."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from api.doors import evaluations, fits
from api.doors.pages import require_model
from api.doors.ranking import Ranking
from api.doors.thresholds import IMAGES
from api.results import CAPTIONS, Calibration
from api.wiring import Wiring
from indexer.build import Progress
from retrieval.errors import NoPictures, PictureGone, RoleMissing, TooFewToCalibrate
from retrieval.evaluation.calibrating import fit
from retrieval.evaluation.captioned import sample_of_captions
from retrieval.first_stage import vectors_of
from retrieval.models.roles import Captioner
from retrieval.rerank import Reranker
from storage import items
from storage.galleries import Gallery
from storage.items import Item

QUERIES = 400
"""Queries of each direction that a fit is made of, where nobody says."""
CAPTIONED = 200
"""Pictures that are captioned where there are no pairs."""
SEED = 0


def calibrate(
    wiring: Wiring, gallery: Gallery, *, matcher: str | None, queries: int | None, progress: Progress
) -> list[Calibration]:
    """Fit what makes match probabilities of a matcher's margins: in both directions where there are pairs.

    Without pairs, captions are written for the purpose and forgotten; they calibrate the search for pictures alone.
    Raises TooFewHits where too little is right or wrong to tell.
    """
    model = require_model(gallery, "a calibration")
    reranker = wiring.reranker_of(gallery, matcher)
    if reranker is None:
        raise RoleMissing(model, "matcher")
    with wiring.database.reading() as session:
        has_pairs = bool(items.pairs(session, gallery.id))
    if not has_pairs:
        return [_from_captions(wiring, gallery, reranker, queries or CAPTIONED, progress)]
    depth = max(wiring.depth_of_evaluation(gallery, matcher), evaluations.LEAST_CANDIDATES)
    ranking = Ranking(evaluations.LEAST_CANDIDATES, depth, matcher=matcher)
    done = evaluations.run(wiring, gallery, ranking, queries=queries or QUERIES, seed=SEED, progress=progress)
    with wiring.database.writing() as session:
        kept = fits.keep_fits(session, gallery, done)
    if not kept:
        raise TooFewToCalibrate(gallery.name)
    return kept


def _from_captions(
    wiring: Wiring, gallery: Gallery, reranker: Reranker, queries: int, progress: Progress
) -> Calibration:
    assert gallery.model is not None
    captioner = wiring.captioner(wiring.checkpoint(gallery.model))
    wiring.say(f"gallery {gallery.name} has no pairs: {captioner.name} writes captions to calibrate by")
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "image")
        there = [item for item in items.embedded(session, gallery.id, "image") if item.row is not None]
    if not there:
        raise NoPictures(gallery.name)
    chosen = sorted(Random(SEED).sample(there, min(queries, len(there))), key=lambda item: item.id)
    pictures, captions = _captioned(wiring, chosen, captioner, wiring.batch(wiring.checkpoint(gallery.model)), progress)
    progress.begin("queries", len(pictures))
    sample = sample_of_captions(
        pictures,
        vectors_of(snapshot, np.array([item.id for item in pictures], dtype=np.int64)),
        captions,
        wiring.encoder_of(gallery),
        reranker,
        candidates=wiring.depth_of_evaluation(gallery, reranker.matcher.name),
        advance=progress.advance,
    )
    fitted = fit(sample)
    with wiring.database.writing() as session:
        return fits.keep_fit(session, gallery, reranker, fitted, IMAGES, CAPTIONS, snapshot.revision)


def _captioned(
    wiring: Wiring, chosen: Sequence[Item], captioner: Captioner, batch: int, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Describe pictures, batch by batch; one that is missing or changed is passed over."""
    progress.begin("captions", len(chosen))
    pictures: list[Item] = []
    captions: list[str] = []
    for start in range(0, len(chosen), batch):
        some = chosen[start : start + batch]
        prepared = {}
        for item in some:
            try:
                prepared[item] = captioner.prepare(wiring.originals.open(item))
            except PictureGone:
                continue
        if prepared:
            captions += captioner.caption(np.stack(list(prepared.values())))
            pictures += prepared
        progress.advance(len(some))
    return pictures, captions
