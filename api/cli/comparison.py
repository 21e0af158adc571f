"""The comparison of two evaluations as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from api.signs import visible

if TYPE_CHECKING:
    from api.doors.comparing import Change, Comparison, Difference, Differing
    from api.results import Evaluated

STAGES = {"before": "first stage", "after": "at the end"}
LONGEST = 76
"""Signs of a text or a value that are shown."""
SURE = 0.05
"""Below this p a difference is marked."""


def table(comparison: Comparison) -> str:
    """Show what was matched, every measure with its difference, the queries that changed most, and what differs."""
    lines = [f"A: {_named(comparison.first)}", f"B: {_named(comparison.second)}"]
    lines += [
        f"{one.direction}: {one.queries:,} queries that both asked, matched by {one.by} "
        f"(of {one.first:,} of A and {one.second:,} of B)"
        for one in comparison.matched
    ]
    lines += [*comparison.notes, "", *_differences(comparison.differences)]
    lines += [*_changes("better in B", comparison.better), *_changes("worse in B", comparison.worse)]
    return "\n".join(map(visible, [*lines, *_differing(comparison.differing)]))


def _named(one: Evaluated) -> str:
    matcher = "not reranked" if one.matcher is None else f"reranked by {one.matcher}"
    return f"evaluation {one.id}: {one.gallery}, model {one.model}, {one.candidates:,} candidates, {matcher}"


def _differences(found: Iterable[Difference]) -> Iterator[str]:
    yield f"{'direction':12} {'stage':12} {'measure':8} {'A':>7} {'B':>7} {'B - A':>7}  {'95 % interval':18} {'p':>6}"
    for one in found:
        is_share = one.measure.startswith("recall@")
        by, digits = (100, 1) if is_share else (1, 3)
        numbers = " ".join(f"{by * value:7.{digits}f}" for value in (one.first, one.second))
        ends = " to ".join(f"{by * end:+.{digits}f}" for end in (one.low, one.high))
        name = one.measure.replace("recall@", "R@").replace("mrr", "MRR").replace("ndcg", "nDCG")
        marked = " *" if one.p < SURE else ""
        yield (
            f"{one.direction:12} {STAGES[one.stage]:12} {name:8} {numbers} {by * one.difference:+7.{digits}f}  "
            f"{ends:18} {one.p:6.3f}{marked}"
        )
    yield f"R@k in percent. * p < {SURE}: chance alone seldom makes a difference as large."


def _changes(title: str, changes: Iterable[Change]) -> Iterator[str]:
    for place, one in enumerate(changes):
        if not place:
            yield from ("", f"{title}, rank in A -> rank in B:")
        yield f"{_rank(one.first):>6} -> {_rank(one.second):6} {one.direction:12} {_line(one.query)}"


def _rank(rank: int | None) -> str:
    return "missed" if rank is None else str(rank)


def _differing(found: Iterable[Differing]) -> Iterator[str]:
    for place, one in enumerate(found):
        if not place:
            yield from ("", "what differs, A -> B:")
        yield f"{one.what}: {_line(_said(one.first))} -> {_line(_said(one.second))}"


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _line(text: str) -> str:
    """Make one short line of a text."""
    line = " ".join(visible(text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 2]} …"
