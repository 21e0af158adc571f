"""A gallery with pairs is measured; every query's page is kept, so that a run can go on and be read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from platform import python_version
from time import monotonic
from typing import Any

import numpy as np

from api.doors.evaluated import evaluated, to_measures
from api.doors.fits import Run, keep_fits
from api.doors.pages import require_model
from api.doors.ranking import Ranking
from api.errors import UsageError
from api.results import Evaluated
from api.signs import visible
from api.wiring import Wiring
from indexer.build import Progress
from indexer.uri import shown
from retrieval.evaluation import measured, pages, protocols
from retrieval.evaluation.benchmark import Benchmark, Choice, benchmark
from retrieval.evaluation.measured import Direction, Tally
from retrieval.evaluation.pages import DIRECTIONS, IMAGES, Found
from retrieval.evaluation.protocols import EVERY, Protocol
from retrieval.evaluation.run import run as asking
from retrieval.models.checkpoints import Scoring
from retrieval.models.roles import Encoder
from retrieval.rerank import Reranker
from storage import evaluations
from storage.db import Session
from storage.evaluations import Evaluation, NewEvaluation
from storage.evaluations import Page as StoredPage
from storage.galleries import Gallery
from storage.items import Item

LEAST_CANDIDATES = 10
"""recall@10 needs ten places, unless somebody asks for fewer."""
UNRANKED_CANDIDATES = 128
"""Of a first stage alone, so that a page is long enough for every measure."""
PAGES_AT_ONCE = 64
SECONDS_AT_ONCE = 5.0
"""Pages are kept when there are so many, or when so much time has passed: that much is asked again after a kill."""
LIBRARIES = ("sightline", "torch", "transformers", "faiss-cpu", "faiss-gpu", "numpy", "pillow")
SCORES: Mapping[str, Scoring] = {
    "itc": "itc",
    "itm": "itm",
    "itm+itc": "itm+itc",
    "probability": "itm-probability",
}
"""What a person calls the scores that order candidates."""


@dataclass(frozen=True)
class Wanted:
    """What an evaluation is to measure: what of the gallery, how pages are made, and by whose rules.

    `protocol` names a row of `retrieval.evaluation.protocols`; None is that of the gallery's model. `score` orders the
    candidates otherwise than the protocol does.
    """

    ranking: Ranking
    choice: Choice
    protocol: str | None = None
    score: str | None = None


@dataclass(frozen=True)
class Plan:
    """What an evaluation does: the models, the protocol and every setting that its numbers depend on."""

    model: str
    encoder: Encoder
    reranker: Reranker | None
    protocol: Protocol
    scoring: Scoring
    candidates: int
    pooled: int | None
    departures: tuple[str, ...]
    choice: Choice


def evaluate(
    wiring: Wiring, gallery: Gallery, wanted: Wanted, *, resume: bool = False, progress: Progress
) -> Evaluated:
    """Measure a gallery over its pairs in both directions, and store the result.

    `resume` goes on with an evaluation of the same settings that did not come to its end; without one, a new one
    begins. What the run says of match probabilities is kept for searches too, unless fewer candidates were read than
    usual, or more queries have said it of the same revision.
    """
    plan = _plan(wiring, gallery, wanted)
    with wiring.database.reading() as session:
        images = wiring.snapshots.newest(session, gallery, "image")
        texts = wiring.snapshots.newest(session, gallery, "text")
        bench = benchmark(session, images, texts, plan.choice)
    stored = _begun(wiring, gallery, plan, bench, images.revision, resume=resume)
    _ask(wiring, plan, bench, stored, progress)
    unread: set[int] = set()
    with wiring.database.reading() as session:
        kept = {name: _noting(unread, _stored(session, stored, name)) for name in DIRECTIONS}
        directions = tuple(_tally(plan, bench, name, found) for name, found in kept.items())
    if plan.reranker is not None and unread:
        _tell_of_unread(wiring, gallery, [bench.known[one] for one in sorted(unread)])
    with wiring.database.writing() as session:
        stored = evaluations.finish(session, stored.id, to_measures(directions))
    done = Run(directions, stored.revision, plan.candidates, plan.reranker)
    if _is_usual(wiring, gallery, plan, wanted):
        with wiring.database.writing() as session:
            keep_fits(session, gallery, done, only_better=True)
    return evaluated(gallery, stored)


def run(
    wiring: Wiring, gallery: Gallery, ranking: Ranking, *, queries: int | None, seed: int, progress: Progress
) -> Run:
    """Ask a gallery's texts for its pictures and its pictures for their texts, and keep nothing of it."""
    plan = _plan(wiring, gallery, Wanted(ranking, Choice(queries=queries, seed=seed)))
    with wiring.database.reading() as session:
        images = wiring.snapshots.newest(session, gallery, "image")
        texts = wiring.snapshots.newest(session, gallery, "text")
        bench = benchmark(session, images, texts, plan.choice)
    progress.begin("queries", sum(bench.queries(name) for name in DIRECTIONS))
    tallies = {name: _new_tally(plan, bench, name) for name in DIRECTIONS}
    takers = {name: _taker(tally, bench) for name, tally in tallies.items()}
    for found in asking(bench, plan.encoder, plan.reranker, candidates=plan.candidates, pooled=plan.pooled):
        takers[found.direction](found)
        progress.advance(1)
    directions = tuple(tally.measured(seed=seed) for tally in tallies.values())
    return Run(directions, images.revision, plan.candidates, plan.reranker)


# --- what is asked, made definite


def _plan(wiring: Wiring, gallery: Gallery, wanted: Wanted) -> Plan:
    model = require_model(gallery, "an evaluation")
    _check_choice(wanted.choice)
    ranking = wanted.ranking
    if wanted.score is not None and wanted.score not in SCORES:
        raise UsageError("score", f"there is no score {wanted.score!r}; there are {', '.join(SCORES)}")
    named = None if wanted.protocol is None else protocols.by_name(wanted.protocol)
    if named is not None and named.scoring == "itc" and ranking.matcher is not None:
        sentence = f"protocol {named.name} reranks nothing, so the matcher {ranking.matcher} has nothing to read"
        raise UsageError("matcher", f"{sentence}; leave out one of the two")
    encoder = wiring.encoder_of(gallery)
    reranks = ranking.rerank and (named is None or named.scoring != "itc")
    reranker = wiring.reranker_of(gallery, ranking.matcher) if reranks else None
    if named is not None and named.scoring != "itc" and reranker is None and ranking.rerank:
        sentence = f"protocol {named.name} reranks, and {model} has no matcher: name one with --matcher, or take itc"
        raise UsageError("protocol", sentence)
    if wanted.score not in (None, "itc") and reranker is None:
        raise UsageError("score", f"the score {wanted.score} needs a matcher, and nothing is reranked here")
    judge = wiring.checkpoint(model if reranker is None else reranker.matcher.name)
    protocol = named or (protocols.PROTOCOLS["itc"] if reranker is None else protocols.protocol_of(judge))
    scoring = _scoring(wanted, named, reranker)
    if reranker is not None:
        reranker = replace(reranker, scoring=scoring)
    candidates = _candidates(ranking, protocol, reranker)
    return Plan(
        model=model,
        encoder=encoder,
        reranker=reranker,
        protocol=protocol,
        scoring=scoring,
        candidates=candidates,
        pooled=ranking.pooled,
        departures=tuple(protocol.departures(judge, candidates, scoring)),
        choice=wanted.choice,
    )


def _check_choice(choice: Choice) -> None:
    """Raise UsageError for what cannot be, before anything is asked."""
    for name, value, least in (
        ("subset", choice.subset, 1),
        ("folds", choice.folds, 1),
        ("queries", choice.queries, 1),
        ("seed", choice.seed, 0),
    ):
        if value is not None and value < least:
            raise UsageError(name, f"{name} is {value}; it must be {least} or more")


def _scoring(wanted: Wanted, named: Protocol | None, reranker: Reranker | None) -> Scoring:
    if reranker is None:
        return "itc"
    if wanted.score is not None:
        return SCORES[wanted.score]
    return reranker.scoring if named is None else named.scoring


def _candidates(ranking: Ranking, protocol: Protocol, reranker: Reranker | None) -> int:
    """Choose how many candidates are read: what was asked for, else what the protocol says."""
    usual = protocol.candidates or (UNRANKED_CANDIDATES if reranker is None else EVERY)
    return ranking.candidates or max(ranking.depth(usual), LEAST_CANDIDATES)


def _is_usual(wiring: Wiring, gallery: Gallery, plan: Plan, wanted: Wanted) -> bool:
    """Whether a run's match probabilities are those that a search shows, of hits in the order of a search."""
    choice = plan.choice
    usual = None if plan.reranker is None else wiring.reranker_of(gallery, wanted.ranking.matcher)
    if usual is None or plan.scoring != usual.scoring:
        return False
    is_whole = choice.split is None and choice.subset is None and choice.folds == 1 and not choice.synthetic
    return is_whole and plan.candidates >= wiring.depth_of_evaluation(gallery, wanted.ranking.matcher)


def _settings(plan: Plan, bench: Benchmark) -> dict[str, Any]:
    """Write down everything that the numbers depend on, unusual things only where they are asked for."""
    matcher = None if plan.reranker is None else plan.reranker.matcher.name
    choice = plan.choice
    candidates = plan.candidates if plan.candidates < EVERY else max(bench.pool(name) for name in DIRECTIONS)
    found: dict[str, Any] = {"candidates": candidates, "rerank": matcher is not None, "queries": choice.queries}
    found |= {"seed": choice.seed, "scoring": plan.scoring, "departures": list(plan.departures)}
    unusual = {
        "synthetic": choice.synthetic,
        "matcher": None if matcher == plan.model else matcher,
        "pooled": plan.pooled,
        "split": choice.split,
        "subset": choice.subset,
        "folds": None if choice.folds == 1 else choice.folds,
    }
    return found | {name: value for name, value in unusual.items() if value}


# --- asking, and keeping what is found


def _begun(
    wiring: Wiring, gallery: Gallery, plan: Plan, bench: Benchmark, revision: int, *, resume: bool
) -> Evaluation:
    """Find the evaluation to go on with, or begin one."""
    settings = _settings(plan, bench)
    matcher_fingerprint = None if plan.reranker is None else plan.reranker.matcher.fingerprint
    facts = [revision, plan.model, plan.encoder.fingerprint, matcher_fingerprint, plan.protocol.name, settings]
    # Pages of another device, precision or library are other numbers, if only in the last digit.
    facts.append(versions(wiring))
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    with wiring.database.writing() as session:
        known = evaluations.unfinished(session, gallery.id, digest)
        if known is not None and resume:
            return known
        if known is not None:
            wiring.say(f"evaluation {known.id} of these settings did not come to its end; --resume goes on with it")
        elif resume:
            wiring.say("no evaluation of these settings was left unfinished; a new one begins")
        new = NewEvaluation(
            revision=revision,
            model=plan.model,
            settings=settings,
            digest=digest,
            fingerprint=plan.encoder.fingerprint,
            matcher_fingerprint=matcher_fingerprint,
            protocol=plan.protocol.name,
            versions=versions(wiring),
        )
        return evaluations.begin(session, gallery.id, new)


def _ask(wiring: Wiring, plan: Plan, bench: Benchmark, stored: Evaluation, progress: Progress) -> None:
    with wiring.database.reading() as session:
        done = evaluations.asked(session, stored.id)
    progress.begin("queries", sum(bench.queries(name) for name in DIRECTIONS) - sum(map(len, done.values())))
    found = asking(bench, plan.encoder, plan.reranker, candidates=plan.candidates, pooled=plan.pooled, done=done)
    kept = _Keeper(wiring, stored, progress)
    try:
        for one in found:
            kept.add(_page(plan, bench, one))
            # A page may take long, so whoever watches may end this after every one.
            progress.advance(0)
    finally:
        kept.flush()


class _Keeper:
    """Keeps pages when there are enough of them or some time has passed, and counts them when they are durable."""

    def __init__(self, wiring: Wiring, stored: Evaluation, progress: Progress) -> None:
        self._wiring, self._stored, self._progress = wiring, stored, progress
        self._pages: list[StoredPage] = []
        self._begun = monotonic()

    def add(self, page: StoredPage) -> None:
        """Take in one page."""
        self._pages.append(page)
        if len(self._pages) >= PAGES_AT_ONCE or monotonic() - self._begun > SECONDS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        if not self._pages:
            return
        pages, self._pages, now = self._pages, [], monotonic()
        with self._wiring.database.writing() as session:
            evaluations.add_pages(session, self._stored.id, pages, seconds=now - self._begun)
        self._begun = now
        self._progress.advance(len(pages))


def _page(plan: Plan, bench: Benchmark, found: Found) -> StoredPage:
    right = bench.folds[found.fold].right[found.direction][found.query]
    before, after = measured.ranks(found, right, plan.scoring)
    return StoredPage(
        direction=found.direction,
        query_id=found.query,
        fold=found.fold,
        before=before,
        after=after if plan.reranker is not None else None,
        first_milliseconds=found.first_milliseconds,
        rerank_milliseconds=found.rerank_milliseconds,
        page=pages.to_bytes(found.rows),
    )


def _stored(session: Session, stored: Evaluation, direction: str) -> Iterator[Found]:
    """Read again what the queries of a direction found."""
    for one in evaluations.pages(session, stored.id, direction):
        rows = pages.from_bytes(one.page)
        yield Found(one.direction, one.query_id, one.fold, rows, one.first_milliseconds, one.rerank_milliseconds)


def _noting(unread: set[int], found: Iterable[Found]) -> Iterator[Found]:
    """Pass pages on, and note the pictures that no matcher has read: candidates, or the one that was asked by."""
    for one in found:
        is_unread = np.isnan(one.candidates["yes"])
        if one.direction == IMAGES:
            unread.update(one.candidates["item"][is_unread].tolist())
        elif is_unread.all():
            unread.add(one.query)
        yield one


def _tell_of_unread(wiring: Wiring, gallery: Gallery, pictures: Sequence[Item]) -> None:
    first, count = visible(shown(pictures[0].uri)), len(pictures)
    many = f"{count} pictures could not be read and count as missed after reranking, the first is {first}"
    one = f"a picture could not be read and counts as missed after reranking: {first}"
    wiring.say(f"{one if count == 1 else many}; index gallery {gallery.name!r} again")


def _new_tally(plan: Plan, bench: Benchmark, direction: str) -> Tally:
    is_reranked, items = plan.reranker is not None, bench.pool(direction)
    return Tally(direction, items=items, scoring=plan.scoring, is_reranked=is_reranked, candidates=plan.candidates)


def _taker(tally: Tally, bench: Benchmark) -> Any:
    pools = [fold.pool(tally.name) for fold in bench.folds]
    ids = [np.sort(np.concatenate([part.ids[part.alive] for part in pool.parts])) for pool in pools]

    def take(found: Found) -> None:
        tally.add(found, bench.folds[found.fold].right[tally.name][found.query], ids[found.fold])

    return take


def _tally(plan: Plan, bench: Benchmark, direction: str, found: Iterable[Found]) -> Direction:
    tally = _new_tally(plan, bench, direction)
    take = _taker(tally, bench)
    for one in found:
        take(one)
    return tally.measured(seed=plan.choice.seed)


def versions(wiring: Wiring) -> dict[str, str]:
    """Name what computes here: libraries with their versions, Python, the device and the precision."""
    found = {"python": python_version(), "device": wiring.device, "precision": wiring.precision}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
