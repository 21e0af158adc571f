"""Queries become pages: search by text and picture, in batches, by names; lookup of texts by picture."""

from __future__ import annotations

from collections.abc import Sequence

from api.doors.pictures import Picture, model_for, read
from api.errors import UsageError
from api.results import Page
from api.wiring import Wiring
from retrieval.errors import NoModel, NoTexts
from retrieval.lookup import lookup, lookup_among
from retrieval.rerank import Reranker
from retrieval.search import search, search_many, search_names
from retrieval.texts import require_words
from retrieval.types import Hit, Query
from storage import galleries
from storage.galleries import Gallery

MOST_HITS = 1000
MOST_CANDIDATES = 2000


def check_sizes(k: int, candidates: int | None = None) -> None:
    """Raise UsageError unless a page of k hits over so many candidates can be asked for."""
    if not 1 <= k <= MOST_HITS:
        raise UsageError("k", f"k is {k}; it must lie between 1 and {MOST_HITS}")
    if candidates is not None and not 1 <= candidates <= MOST_CANDIDATES:
        raise UsageError("candidates", f"candidates is {candidates}; it must lie between 1 and {MOST_CANDIDATES}")


def check_query(text: str | None, image: object) -> None:
    """Raise UsageError unless there is something to search by."""
    if text is None and image is None:
        raise UsageError("text", "a query needs a text, a picture or both")


def search_page(
    wiring: Wiring,
    gallery: Gallery,
    text: str | None,
    image: Picture | None,
    *,
    k: int,
    candidates: int | None,
    rerank: bool,
) -> Page:
    """Find the pictures of a gallery that answer a query best."""
    if image is not None:
        require_model(gallery, "searching by picture")
    if gallery.model is None:
        return _page_of_names(wiring, gallery, text or "", k)
    encoder = wiring.encoder_of(gallery)
    query = Query(text, None if image is None else read(wiring, image))
    reranker = wiring.reranker_of(gallery) if rerank and text is not None else None
    depth = candidates or wiring.depth(gallery)
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "image")
        hits = search(session, query, snapshot, encoder, reranker, k=k, candidates=depth)
    unknown = encoder.unknown_words(text) if text is not None else []
    return _page(gallery, snapshot.revision, reranker, unknown, hits)


def search_pages(wiring: Wiring, gallery: Gallery, texts: Sequence[str], ks: Sequence[int]) -> list[Page]:
    """Answer several texts by the first stage alone, in one pass: the pages are those of one at a time."""
    if gallery.model is None:
        return [_page_of_names(wiring, gallery, text, k) for text, k in zip(texts, ks, strict=True)]
    encoder = wiring.encoder_of(gallery)
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "image")
        pages = search_many(session, [Query(text) for text in texts], snapshot, encoder, k=ks)
    return [
        _page(gallery, snapshot.revision, None, encoder.unknown_words(text), hits)
        for text, hits in zip(texts, pages, strict=True)
    ]


def lookup_page(
    wiring: Wiring, gallery: Gallery, image: Picture, *, k: int, candidates: int | None, rerank: bool
) -> Page:
    """Find the texts of a gallery that describe a picture best."""
    require_model(gallery, "a lookup")
    picture = read(wiring, image)
    encoder = wiring.encoder_of(gallery)
    reranker = wiring.reranker_of(gallery) if rerank else None
    with wiring.database.reading() as session:
        snapshot = wiring.snapshots.newest(session, gallery, "text")
        if not snapshot.items:
            raise NoTexts(gallery.name)
        hits = lookup(
            session,
            picture,
            snapshot,
            encoder,
            reranker,
            k=k,
            candidates=candidates or wiring.depth(gallery),
        )
    return _page(gallery, snapshot.revision, reranker, [], hits)


def lookup_page_among(
    wiring: Wiring,
    image: Picture,
    texts: Sequence[str],
    *,
    origin: str,
    gallery: Gallery | None,
    model: str | None,
    k: int,
    candidates: int | None,
    rerank: bool,
) -> Page:
    """Find which of some given texts describe a picture best, with the given model or the gallery's."""
    name = model or (gallery.model if gallery else None)
    checkpoint = wiring.checkpoint(name) if name else model_for(wiring, image)
    reranker = wiring.reranker(checkpoint) if rerank else None
    encoder = wiring.encoder(checkpoint)
    unknown = dict.fromkeys(word for text in texts for word in encoder.unknown_words(text))
    hits = lookup_among(
        read(wiring, image),
        texts,
        encoder,
        reranker,
        k=k,
        candidates=candidates or len(texts),
        origin=origin,
    )
    name = gallery.name if gallery else None
    return Page(name, checkpoint.name, None, _stages(reranker), tuple(unknown), tuple(hits))


def require_model(gallery: Gallery, what: str) -> str:
    """Give the gallery's model, or raise NoModel: only names and captions are searched without one."""
    if gallery.model is None:
        raise NoModel(gallery.name, what)
    return gallery.model


def _page_of_names(wiring: Wiring, gallery: Gallery, text: str, k: int) -> Page:
    require_words([text])
    with wiring.database.reading() as session:
        hits = search_names(session, gallery.id, text, k=k)
        revision = galleries.revision(session, gallery.id)
    return Page(gallery.name, None, revision, "names", (), tuple(hits))


def _page(
    gallery: Gallery, revision: int, reranker: Reranker | None, unknown: Sequence[str], hits: Sequence[Hit]
) -> Page:
    return Page(gallery.name, gallery.model, revision, _stages(reranker), tuple(unknown), tuple(hits))


def _stages(reranker: Reranker | None) -> str:
    return "itc+itm" if reranker else "itc"
