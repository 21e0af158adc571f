"""Single queries of an evaluation as a page shows them: what was asked, what is right, and what came first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """An item: the wording of a text, or a picture's name with its thumbnail as a data URI.

    `missing` says why a picture has no thumbnail; a text has neither.
    """

    name: str
    is_picture: bool
    picture: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class ShownHit:
    """A hit of a page: its ranks by the first stage and at the end, and the scores that the candidate has.

    `score` is what orders the page, None where the candidate could not be read.
    """

    item: Shown
    is_right: bool
    before: int
    after: int
    score: float | None
    similarity: float
    probability: float | None


@dataclass(frozen=True)
class ShownQuery:
    """A query, some of what is right for it (`more_right` are not shown), and its first hits.

    `before` and `after` rank the first right item, None where it is not among the candidates; `after` is the rank by
    the first stage where nothing was reranked.
    """

    query: Shown
    right: tuple[Shown, ...]
    more_right: int
    hits: tuple[ShownHit, ...]
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Extremes:
    """The best and the worst queries of one direction."""

    best: tuple[ShownQuery, ...] = ()
    worst: tuple[ShownQuery, ...] = ()
