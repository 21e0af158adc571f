"""An evaluation as a page to read, to send and to print: its numbers, and its best and worst queries with pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from api.doors import pictures
from api.doors.evaluated import evaluated, finished
from api.errors import UsageError
from api.paths import expanded
from api.reports import html as pages_of_html
from api.reports.examples import Extremes, Shown, ShownHit, ShownQuery
from api.results import Evaluated, MeasuredDirection
from api.wiring import Wiring
from indexer.decode import decode_bytes, thumbnail
from indexer.errors import DecodeFailed, OriginalChanged, OriginalMissing
from indexer.sources.naming import item_name
from retrieval.errors import PictureGone
from retrieval.evaluation.benchmark import Choice, standings
from retrieval.evaluation.measured import QueryRank
from retrieval.evaluation.pages import IMAGES, Rows, from_bytes, scores
from retrieval.evaluation.protocols import PROTOCOLS
from retrieval.models.checkpoints import Scoring
from storage import evaluations, items
from storage.db import Session
from storage.errors import ItemNotFound
from storage.evaluations import Evaluation
from storage.files import write_bytes_durably
from storage.galleries import Gallery
from storage.items import Item

HITS = 5
"""First hits that are shown of a query."""
RIGHT = 3
"""Right items that are shown of a query."""
SIDE, MOST_BYTES = 160, 9_000
"""Of a thumbnail: with MOST_PICTURES of them a page stays below 3 MB."""
MOST_PICTURES = 200
LONGEST_TEXT = 400
"""Characters of a text that are shown; the longest captions of the known datasets have about 300."""


def html(wiring: Wiring, evaluation_id: int) -> str:
    """Show an evaluation as one page that needs nothing else.

    Raises EvaluationNotFound, and UsageError for one that has not come to its end.
    """
    with wiring.database.reading() as session:
        gallery, stored = finished(session, evaluation_id)
        result = evaluated(gallery, stored)
        gathered = _Gathered(session, gallery, stored, result)
    small = _Thumbnails(wiring)
    examples = {one.name: gathered.extremes(one, small) for one in result.directions}
    protocol = PROTOCOLS.get(result.protocol or "")
    return pages_of_html.page(
        result, protocol=protocol, revision=gallery.revision, examples=examples, notices=gathered.notices(small)
    )


def save(wiring: Wiring, evaluation_id: int, path: Path | str) -> Path:
    """Write the page to a file, whole or not at all, and give its path; UsageError where none can be written."""
    place = check_path(path)
    write(html(wiring, evaluation_id), place)
    return place


def write(page: str, place: Path) -> None:
    """Write a page to a file that `check_path` allowed."""
    try:
        write_bytes_durably(place, page.encode())
    except OSError as error:
        raise UsageError("report", f"{place} cannot be written: {error.strerror or error}") from error


def check_path(path: Path | str) -> Path:
    """Give the path of a file that a page can be written to; else raise UsageError."""
    place = expanded(path)
    if place.is_dir():
        raise UsageError("report", f"{place} cannot be written: it is a folder; name a file, as report.html")
    if not place.parent.is_dir():
        raise UsageError("report", f"{place} cannot be written: there is no folder {place.parent}")
    return place


class _Thumbnails:
    """Pictures as data URIs: each is made once, and after MOST_PICTURES there are no more."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring, self.left, self.refused = wiring, MOST_PICTURES, 0
        self.known: dict[int, Shown] = {}

    def of(self, item: Item, name: str) -> Shown:
        """Show a picture, or say why it cannot be shown."""
        if item.id not in self.known:
            self.known[item.id] = self._made(item, name)
        found = self.known[item.id]
        if found.picture is None:
            return found
        # Every use is counted: the page holds the picture anew each time.
        if not self.left:
            self.refused += 1
            return replace(found, picture=None, missing=f"not shown: a page holds {MOST_PICTURES} pictures")
        self.left -= 1
        return found

    def _made(self, item: Item, name: str) -> Shown:
        unseen = Shown(name, is_picture=True)
        try:
            _, jpeg = pictures.small(self.wiring, item.id)
            smaller = thumbnail(
                decode_bytes(jpeg, pixel_limit=self.wiring.settings.pixel_limit), side=SIDE, max_bytes=MOST_BYTES
            )
        except (PictureGone, OriginalMissing, OriginalChanged, DecodeFailed) as error:
            return replace(unseen, missing=f"the picture is gone: {error.reason}")
        except (ItemNotFound, OSError):
            return replace(unseen, missing="the picture is gone")
        return replace(unseen, picture=f"data:image/jpeg;base64,{b64encode(smaller).decode()}")


class _Gathered:
    """What the database knows of the queries that a page shows."""

    def __init__(self, session: Session, gallery: Gallery, stored: Evaluation, result: Evaluated) -> None:
        self.stored, self.gallery = stored, gallery
        self.scoring: Scoring = stored.settings.get("scoring", "itc") if result.matcher is not None else "itc"
        self.pages: dict[tuple[str, int], Rows] = {}
        for one in result.directions:
            wanted = {query.query for query in (*one.best, *one.worst)}
            self.pages |= {(one.name, query): rows for query, rows in _pages(session, stored.id, one.name, wanted)}
        self.right = _right(session, stored, {query for _, query in self.pages})
        self.known = items.by_ids(session, self._mentioned(result))
        told = {item_id: items.metadata_of(session, item_id)[1] for item_id in self.known}
        self.names = {item_id: item_name(item, told[item_id]) for item_id, item in self.known.items()}

    def extremes(self, one: MeasuredDirection, small: _Thumbnails) -> Extremes:
        """Show the best and the worst queries of a direction."""
        best, worst = (tuple(self._query(one.name, query, small) for query in some) for some in (one.best, one.worst))
        return Extremes(best, worst)

    def notices(self, small: _Thumbnails) -> tuple[str, ...]:
        """Say what the page does not show as it was."""
        found = []
        if self.gallery.revision != self.stored.revision:
            found.append(
                f"The gallery has changed since (revision {self.stored.revision:,} was measured, it is at "
                f"{self.gallery.revision:,}): queries are shown with what is known of their items today."
            )
        if small.refused:
            found.append(f"{small.refused:,} pictures are not shown: a page holds {MOST_PICTURES}.")
        return tuple(found)

    def _mentioned(self, result: Evaluated) -> set[int]:
        queries = {query.query for one in result.directions for query in (*one.best, *one.worst)}
        hits = {int(item) for rows in self.pages.values() for item in self._first(rows)["item"]}
        return queries | hits | {item for right in self.right.values() for item in right}

    def _first(self, rows: Rows) -> Rows:
        candidates = rows[rows["rank"] > 0]
        order = np.lexsort((candidates["rank"], -scores(candidates, self.scoring)))
        first: Rows = candidates[order[:HITS]]
        return first

    def _query(self, direction: str, query: QueryRank, small: _Thumbnails) -> ShownQuery:
        right = sorted(self.right.get(query.query, ()))
        rows = self.pages.get((direction, query.query))
        hits = () if rows is None else tuple(self._hits(direction, rows, right, small))
        return ShownQuery(
            query=self._item(query.query, small, is_picture=direction != IMAGES),
            right=tuple(self._item(one, small, is_picture=direction == IMAGES) for one in right[:RIGHT]),
            more_right=max(len(right) - RIGHT, 0),
            hits=hits,
            before=query.before,
            after=query.after if self.stored.settings["rerank"] else query.before,
        )

    def _hits(self, direction: str, rows: Rows, right: Collection[int], small: _Thumbnails) -> Iterable[ShownHit]:
        first = self._first(rows)
        by, likely = scores(first, self.scoring), scores(first, "itm-probability")
        for place, row in enumerate(first):
            yield ShownHit(
                item=self._item(int(row["item"]), small, is_picture=direction == IMAGES),
                is_right=int(row["item"]) in right,
                before=int(row["rank"]),
                after=place + 1,
                score=float(by[place]) if np.isfinite(by[place]) else None,
                similarity=float(row["similarity"]),
                probability=float(likely[place]) if np.isfinite(likely[place]) else None,
            )

    def _item(self, item_id: int, small: _Thumbnails, *, is_picture: bool) -> Shown:
        item = self.known.get(item_id)
        if item is None:
            name = f"item {item_id}"
            return Shown(name, is_picture, missing="no longer in the gallery")
        if is_picture:
            return small.of(item, self.names[item_id])
        text = item.text or ""
        return Shown(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …", is_picture=False)


def _pages(session: Session, evaluation_id: int, direction: str, wanted: Collection[int]) -> Iterable[tuple[int, Rows]]:
    """Read the pages of some queries."""
    for one in evaluations.pages(session, evaluation_id, direction) if wanted else ():
        if one.query_id in wanted:
            yield one.query_id, from_bytes(one.page)


def _right(session: Session, stored: Evaluation, queries: Collection[int]) -> Mapping[int, set[int]]:
    """Read what is right for some queries by the gallery's pairs, as they are today."""
    found: dict[int, set[int]] = {query: set() for query in queries}
    choice = Choice(synthetic=bool(stored.settings.get("synthetic")))
    for pair in items.pairs(session, stored.gallery_id, standings(choice)):
        for query, other in (pair, pair[::-1]):
            if query in found:
                found[query].add(other)
    return found
