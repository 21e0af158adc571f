"""A gallery writes captions of its own, and doubts the texts it was given; a person has the last word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from api.doors.pages import require_model
from api.doors.reviews import Decision, open_review
from api.doors.watching import watched
from api.errors import UsageError
from api.results import BELIEVED, DOUBTED, REJECTED, TRUSTED, Bootstrapped, ReviewRow
from api.wiring import Wiring
from indexer.build import Progress
from indexer.publish import Publisher
from indexer.scan import ahead
from indexer.synthetic import publish_synthetic
from retrieval.bootstrap import Claim, Seen, Subject, judge, look
from retrieval.errors import NoPictures, RoleMissing
from retrieval.models.roles import Captioner, Encoder, Matcher
from storage import galleries, items, judgements
from storage.db import Session
from storage.galleries import Gallery
from storage.judgements import Judgement
from storage.lease import write_lease

Pairs = dict[tuple[int, int], tuple[int, str]]
"""(text id, image id) to (image id, text): a pair by its rows and by what it says."""


@dataclass(frozen=True)
class _Models:
    encoder: Encoder
    matcher: Matcher
    captioner: Captioner
    batch: int


def bootstrap(
    wiring: Wiring,
    gallery: Gallery,
    *,
    captioner: str | None,
    threshold: float,
    write: bool,
    review: Path | str | None,
    progress: Progress,
) -> Bootstrapped:
    """Let the captioner write, let the matcher judge, and store what is believed where `write` asks for it.

    What was judged is kept after every batch, so a run that was killed goes on, and a second one finds little to do.
    `review` is a table whose decisions come first, and stay.
    """
    if not 0 <= threshold <= 1:
        raise UsageError("threshold", f"threshold is {threshold:g}; a match probability lies between 0 and 1")
    decisions = [] if review is None else open_review(review)
    pictures = _count_pictures(wiring, gallery)
    models = _models(wiring, gallery, captioner)
    _tell_without_pairs(wiring, gallery)
    counts: dict[str, int] = {}
    with write_lease(wiring.database, gallery) as holder, watched(wiring, gallery, "bootstrap", progress) as watch:
        watch.report = lambda: counts
        publisher = Publisher(wiring.database, wiring.snapshots, gallery, holder)
        unknown = _note(publisher, decisions)
        looked_at, missing = _judge(wiring, publisher, models, watch)
        removed = _follow_reviews(publisher)
        rows = _rows(publisher, models.captioner.name, threshold)
        added = 0
        if write:
            added, withdrawn = _store(publisher, models, rows, watch)
            removed += withdrawn
        counts |= {"looked_at": looked_at, "missing": missing, "added": added, "removed": removed}
    return Bootstrapped(
        gallery=gallery.name,
        model=models.matcher.name,
        captioner=models.captioner.name,
        threshold=threshold,
        pictures=pictures,
        looked_at=looked_at,
        missing=missing,
        rows=tuple(rows),
        added=added,
        removed=removed,
        unknown=unknown,
    )


def _count_pictures(wiring: Wiring, gallery: Gallery) -> int:
    require_model(gallery, "a bootstrap")
    with wiring.database.reading() as session:
        pictures = len(items.embedded(session, gallery.id, "image"))
        if not pictures:
            raise NoPictures(gallery.name)
    return pictures


def _tell_without_pairs(wiring: Wiring, gallery: Gallery) -> None:
    with wiring.database.reading() as session:
        if not items.pairs(session, gallery.id, (items.GIVEN, items.DROPPED)):
            wiring.say(f"gallery {gallery.name} has no pairs to doubt; captions are written all the same")


def _models(wiring: Wiring, gallery: Gallery, captioner: str | None) -> _Models:
    """Load all three models first: where one cannot be had, nothing was begun."""
    checkpoint = wiring.checkpoint(require_model(gallery, "a bootstrap"))
    if "matcher" not in checkpoint.roles:
        raise RoleMissing(checkpoint.name, "matcher")
    author = wiring.captioner(wiring.checkpoint(captioner) if captioner else checkpoint)
    encoder, reranker = wiring.encoder_of(gallery), wiring.reranker_of(gallery)
    assert reranker is not None
    return _Models(encoder, reranker.matcher, author, wiring.batch(checkpoint))


def _note(publisher: Publisher, decisions: Sequence[Decision]) -> int:
    """Keep what a person decided, and count the rows that the gallery does not know."""
    unknown = 0
    with publisher.database.writing() as session:
        for one in decisions:
            unknown += not judgements.review(
                session, publisher.gallery.id, one.item, one.text, is_given=one.is_given, kept=one.keep
            )
    return unknown


def _judge(wiring: Wiring, publisher: Publisher, models: _Models, progress: Progress) -> tuple[int, int]:
    """Look at every picture of which something is not judged yet; gives how many were seen and how many not."""
    with wiring.database.reading() as session:
        subjects = _subjects(session, publisher.gallery, models.captioner.name)
    progress.begin("pictures", len(subjects))
    see = partial(look, pictures=wiring.originals, captioner=models.captioner, matcher=models.matcher)
    seen = ahead(see, subjects, threads=wiring.settings.decode_threads, depth=2 * models.batch)
    looked_at = missing = 0
    while batch := list(islice(seen, models.batch)):
        found = [one for one in batch if one is not None]
        _judge_batch(publisher, models, found)
        looked_at += len(found)
        missing += len(batch) - len(found)
        progress.advance(len(batch))
    return looked_at, missing


def _judge_batch(publisher: Publisher, models: _Models, batch: Sequence[Seen]) -> None:
    claims = judge(batch, models.captioner, models.matcher) if batch else []
    with publisher.database.writing() as session:
        galleries.renew_lease(session, publisher.gallery, publisher.holder)
        judged = [_judgement(claim, models.captioner.name) for claim in claims]
        judgements.store(session, publisher.gallery.id, judged)


def _judgement(claim: Claim, captioner: str) -> Judgement:
    author = captioner if claim.is_written else judgements.GIVEN
    return Judgement(claim.item_id, claim.text, author, claim.match_probability)


def _subjects(session: Session, gallery: Gallery, captioner: str) -> list[Subject]:
    """List the pictures of which a given text was not judged, or no caption was written by this captioner."""
    known = judgements.of_gallery(session, gallery.id)
    judged = {(one.image_id, one.text) for one in known if one.captioner == judgements.GIVEN}
    captioned = {one.image_id for one in known if one.captioner == captioner}
    waiting: dict[int, list[str]] = {}
    for image_id, text in dict.fromkeys(_given(session, gallery).values()):
        if (image_id, text) not in judged:
            waiting.setdefault(image_id, []).append(text)
    return [
        Subject(item, tuple(waiting.get(item.id, ())), item.id not in captioned)
        for item in items.embedded(session, gallery.id, "image")
        if item.id in waiting or item.id not in captioned
    ]


def _given(session: Session, gallery: Gallery, standings: Sequence[str] = (items.GIVEN, items.DROPPED)) -> Pairs:
    pairs = items.pairs(session, gallery.id, standings)
    texts = items.by_ids(session, {text_id for text_id, _ in pairs})
    return {(text_id, image_id): (image_id, texts[text_id].text or "") for text_id, image_id in pairs}


def _rows(publisher: Publisher, captioner: str, threshold: float) -> list[ReviewRow]:
    """Say of every given pair and every caption what the matcher makes of it.

    A caption that says what was given anyway is nothing new, and has no row.
    """
    gallery = publisher.gallery
    with publisher.database.reading() as session:
        known = judgements.of_gallery(session, gallery.id)
        given = set(_given(session, gallery).values())
        uris = {item.id: item.uri for item in items.embedded(session, gallery.id, "image")}
    rows = []
    for one in known:
        is_given, matches = one.captioner == judgements.GIVEN, one.match_probability >= threshold
        if one.image_id not in uris or is_given != ((one.image_id, one.text) in given):
            continue
        if not is_given and one.captioner != captioner:
            continue
        kind = (TRUSTED if matches else DOUBTED) if is_given else (BELIEVED if matches else REJECTED)
        rows.append(ReviewRow(one.image_id, uris[one.image_id], one.text, kind, one.match_probability, one.kept))
    return rows


def _follow_reviews(publisher: Publisher) -> int:
    """Make the pairs stand as the reviews say; gives how many synthetic ones went.

    A given pair that is dropped stays as a row, so that the next index run does not bring it back.
    """
    gallery = publisher.gallery
    with publisher.database.reading() as session:
        no = {
            (one.image_id, one.text, one.captioner)
            for one in judgements.of_gallery(session, gallery.id)
            if one.kept is False
        }
        standing = _given(session, gallery, (items.GIVEN,))
        dropped = _given(session, gallery, (items.DROPPED,))
        written = items.pairs(session, gallery.id, (items.SYNTHETIC,))
        texts = items.by_ids(session, {text_id for text_id, _ in written})
    drop = [pair for pair, says in standing.items() if (*says, judgements.GIVEN) in no]
    restore = [pair for pair, says in dropped.items() if (*says, judgements.GIVEN) not in no]
    gone = [
        (text_id, image_id)
        for text_id, image_id in written
        if (image_id, texts[text_id].text, texts[text_id].source.removeprefix(items.WRITTEN_BY)) in no
    ]
    if drop or restore or gone:
        with publisher.publishing() as session:
            items.set_standing(session, drop, items.DROPPED)
            items.set_standing(session, restore, items.GIVEN)
            items.remove_pairs(session, gone)
    return len(gone)


def _store(publisher: Publisher, models: _Models, rows: Sequence[ReviewRow], progress: Progress) -> tuple[int, int]:
    """Make the synthetic texts of this captioner those that are kept; gives how many pairs came and went."""
    wanted: dict[str, list[int]] = {}
    for row in rows:
        if row.kind in {BELIEVED, REJECTED} and row.is_kept and row.text:
            wanted.setdefault(row.text, []).append(row.item)
    publisher.repair()
    return publish_synthetic(
        wanted, models.captioner.name, publisher=publisher, encoder=models.encoder, progress=progress
    )
