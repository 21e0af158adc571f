"""Queries become pages: search by text and picture, in batches, by names; lookup of texts by picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from api.doors.pictures import Picture, model_for, read
from api.doors.ranking import Ranking
from api.doors.thresholds import IMAGES, TEXTS, Judge, check_threshold, hold, judge
from api.errors import UsageError
from api.results import Page
from api.wiring import Wiring
from retrieval.errors import NoModel, NoTexts
from retrieval.lookup import lookup, lookup_among
from retrieval.models.roles import Encoder, TextReader
from retrieval.rerank import Reranker
from retrieval.search import Ranked, Read, rerank, search, search_many, search_names
from retrieval.texts import require_words
from retrieval.types import Hit, Query
from storage import galleries
from storage.galleries import Gallery


def check_query(text: str | None, image: object, matcher: str | None = None) -> None:
    """Raise UsageError unless there is something to search by, and something to read for a matcher that was asked for.

    A matcher reads a text together with a picture: a picture alone is answered by similarity.
    """
    if text is None and image is None:
        raise UsageError("text", "a query needs a text, a picture or both")
    if text is None and matcher is not None:
        raise UsageError("matcher", f"a picture alone is not reranked: give a text too, or leave out {matcher}")


def check_offered(wiring: Wiring, gallery: Gallery, matcher: str | None) -> None:
    """Raise UsageError unless a stranger may ask for a matcher: none may make us read folders or download."""
    if matcher is None:
        return
    offered = wiring.matchers_at_hand(gallery)
    if matcher not in offered:
        raise UsageError("matcher", f"matcher is {matcher!r}; it must be one of {', '.join(offered)}")


def search_page(wiring: Wiring, gallery: Gallery, text: str | None, image: Picture | None, ranking: Ranking) -> Page:
    """Find the pictures of a gallery that answer a query best."""
    *_, page = search_steps(wiring, gallery, text, image, ranking)
    assert isinstance(page, Page)
    return replace(page, hits=tuple(hold(page.hits, page.threshold)[: ranking.k]))


def search_steps(
    wiring: Wiring, gallery: Gallery, text: str | None, image: Picture | None, ranking: Ranking
) -> Iterator[Page | Read]:
    """Tell how a page comes about: the first stage's page, what the matcher reads, and the page in its final order.

    Both pages hold all candidates, also those that a threshold holds back.
    """
    if image is not None:
        require_model(gallery, "searching by picture")
    if ranking.matcher is not None:
        require_model(gallery, "reranking")
    if gallery.model is None:
        check_threshold(ranking, gallery, None, has_text=True)
        yield from [_page_of_names(wiring, gallery, text or "", ranking.k)] * 2
        return
    encoder = wiring.encoder_of(gallery)
    query = Query(text, None if image is None else read(wiring, image))
    reranker = wiring.reranker_of(gallery, ranking.matcher) if ranking.rerank and text is not None else None
    check_threshold(ranking, gallery, reranker, has_text=text is not None)
    usual = wiring.depth(gallery, ranking.matcher)
    if reranker is not None and ranking.depth(usual) < min(usual, ranking.candidates or usual):
        wiring.say(
            f"pooled is {ranking.pooled}: the matcher reads so many candidates and not {usual}, as it usually does"
        )
    depth = ranking.depth(usual)
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "image")
        chosen = judge(session, gallery, reranker, ranking, IMAGES)
        n = ranking.k if reranker is None else max(ranking.k, depth)
        found = search(session, query, snapshot, encoder, n=n, pooled=ranking.pooled)
    # From here on SQL is not needed: whoever waits for the matcher holds no connection.
    empty = _page(gallery, snapshot.revision, chosen, _unknown_words([text] if text else [], encoder, reranker))
    yield replace(empty, hits=tuple(found.hits))
    for step in rerank(found, chosen.reranker):
        yield step if isinstance(step, Read) else _ranked(empty, step)


def search_pages(
    wiring: Wiring, gallery: Gallery, texts: Sequence[str], ks: Sequence[int], *, pooled: int | None
) -> list[Page]:
    """Answer several texts by the first stage alone, in one pass: the pages are those of one at a time."""
    if gallery.model is None:
        return [_page_of_names(wiring, gallery, text, k) for text, k in zip(texts, ks, strict=True)]
    encoder = wiring.encoder_of(gallery)
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "image")
        pages = search_many(session, [Query(text) for text in texts], snapshot, encoder, k=ks, pooled=pooled)
    return [
        _page(gallery, snapshot.revision, Judge(None), encoder.unknown_words(text), hits)
        for text, hits in zip(texts, pages, strict=True)
    ]


def lookup_page(wiring: Wiring, gallery: Gallery, image: Picture, ranking: Ranking) -> Page:
    """Find the texts of a gallery that describe a picture best."""
    require_model(gallery, "a lookup")
    picture = read(wiring, image)
    encoder = wiring.encoder_of(gallery)
    reranker = wiring.reranker_of(gallery, ranking.matcher) if ranking.rerank else None
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "text")
        if not snapshot.items:
            raise NoTexts(gallery.name)
        chosen = judge(session, gallery, reranker, ranking, TEXTS)
        hits = lookup(
            session,
            picture,
            snapshot,
            encoder,
            chosen.reranker,
            k=ranking.k,
            candidates=ranking.depth(wiring.depth(gallery, ranking.matcher)),
        )
    return _page(gallery, snapshot.revision, chosen, [], hits)


def lookup_page_among(
    wiring: Wiring,
    image: Picture,
    texts: Sequence[str],
    ranking: Ranking,
    *,
    origin: str,
    gallery: Gallery | None,
    model: str | None,
) -> Page:
    """Find which of some given texts describe a picture best, with the given model or the gallery's."""
    name = model or (gallery.model if gallery else None)
    checkpoint = wiring.checkpoint(name) if name else model_for(wiring, image)
    reranker = wiring.reranker_for(checkpoint, ranking.matcher) if ranking.rerank else None
    encoder = wiring.encoder(checkpoint)
    hits = lookup_among(
        read(wiring, image),
        texts,
        encoder,
        reranker,
        k=ranking.k,
        candidates=ranking.depth(len(texts)),
        origin=origin,
    )
    return Page(
        gallery=gallery.name if gallery else None,
        model=checkpoint.name,
        matcher=_matcher(reranker),
        revision=None,
        stages=_stages(reranker),
        unknown_words=tuple(_unknown_words(texts, encoder, reranker)),
        hits=tuple(hits),
    )


def require_model(gallery: Gallery, what: str) -> str:
    """Give the gallery's model, or raise NoModel: only names and captions are searched without one."""
    if gallery.model is None:
        raise NoModel(gallery.name, what)
    return gallery.model


def _unknown_words(texts: Sequence[str], encoder: Encoder, reranker: Reranker | None) -> list[str]:
    """Name the words that the encoder does not know, then those that the matcher does not: each once."""
    readers: list[TextReader] = [encoder, *([reranker.matcher] if reranker else [])]
    return list(dict.fromkeys(word for reader in readers for text in texts for word in reader.unknown_words(text)))


def _page_of_names(wiring: Wiring, gallery: Gallery, text: str, k: int) -> Page:
    require_words([text])
    with wiring.database.reading() as session:
        hits = search_names(session, gallery.id, text, k=k)
        revision = galleries.revision(session, gallery.id)
    return Page(gallery.name, None, None, revision, "names", (), tuple(hits))


def _page(gallery: Gallery, revision: int, chosen: Judge, unknown: Sequence[str], hits: Sequence[Hit] = ()) -> Page:
    return Page(
        gallery.name,
        gallery.model,
        _matcher(chosen.reranker),
        revision,
        _stages(chosen.reranker),
        tuple(unknown),
        tuple(hits),
        chosen.calibration,
        chosen.threshold,
    )


def _ranked(page: Page, step: Ranked) -> Page:
    """Fill a page with what was ranked, and say whether something matches."""
    full = replace(page, hits=tuple(step.hits))
    if hold(step.hits, page.threshold):
        return full
    judged = [hit for hit in step.hits if hit.match_probability is not None]
    # The likeliest, which is nearly always the first: the order goes by the score.
    best = max(judged, key=lambda hit: hit.match_probability or 0.0, default=None)
    return replace(full, nothing_matches=page.threshold is not None, best_below=best)


def _matcher(reranker: Reranker | None) -> str | None:
    return None if reranker is None else reranker.matcher.name


def _stages(reranker: Reranker | None) -> str:
    return "itc+itm" if reranker else "itc"
