"""Runs and qrels as TREC files, which trec_eval, ir_measures and ranx read, and the measures that these give of them.

A run has a line `query Q0 item rank score tag` for each item that a query ranked, qrels a line `query 0 item grade` for
each judgement; columns are divided by white space, so `trec_id` makes ids of names.

trec_eval does not look at the rank. It orders a query's items by score, rounded to float32, and items of one score by
id, the last of the alphabet first. Scores are written to the last digit and in the order in which the items were
ranked; where that order must survive trec_eval too, scores go through `strictly_decreasing` first. The measures here
read a file as trec_eval does, ties included, so they are those of the file and not of the tie rule of `ranks`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np

from retrieval.errors import BadTrec
from retrieval.evaluation.measures import average_precision, graded_ndcg, precision, share_found
from retrieval.evaluation.ranks import Float64, Int64

TAG = "sightline"
UNSAFE = re.compile(r"[%\s\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
"""What an id must not hold: white space of any alphabet, control characters, halves of surrogate pairs, and %."""
RUN_COLUMNS = "query Q0 item rank score tag"
QRELS_COLUMNS = "query 0 item grade"

Page = Iterable[tuple[str, float]]
"""What one query ranked, best first: names of items and their scores."""
Qrels = Mapping[str, Mapping[str, int]]
"""Query to the grades of its judged items; a grade above 0 is relevant."""


class RunLine(NamedTuple):
    """A line of a run: an item that a query ranked, and its score; both ids as they stand in the file."""

    query: str
    item: str
    score: float


class Judgement(NamedTuple):
    """A line of qrels: an item and its grade for a query; both ids as they stand in the file."""

    query: str
    item: str
    grade: int


@dataclass
class Ranked:
    """What one query of a run ranked, in the order of the file: ids, and as many scores."""

    items: list[str] = field(default_factory=list)
    scores: array[float] = field(default_factory=lambda: array("d"))


Run = Mapping[str, Ranked]
"""Query to what it ranked."""


def trec_id(name: str) -> str:
    """Write a name without what an id must not hold, percent-encoded as UTF-8; raises ValueError for an empty one."""
    if not name:
        raise ValueError("an empty name makes no id of a run")
    return UNSAFE.sub(lambda one: quote_from_bytes(one[0].encode("utf-8", "surrogatepass"), safe=""), name)


def from_trec_id(identifier: str) -> str:
    """Read the name that `trec_id` wrote."""
    return unquote_to_bytes(identifier).decode("utf-8", "surrogatepass")


def run_lines(pages: Iterable[tuple[str, Page]], *, tag: str = TAG) -> Iterator[str]:
    """Write what queries ranked, a line each, from names; raises ValueError for a score that is not finite."""
    for query, page in pages:
        for rank, (item, score) in enumerate(page, start=1):
            if not isfinite(score):
                raise ValueError(f"a run holds finite scores, not {score} of item {item!r} for query {query!r}")
            yield f"{trec_id(query)} Q0 {trec_id(item)} {rank} {float(score)!r} {trec_id(tag)}\n"


def qrels_lines(judgements: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    """Write judgements, a line each, from names of a query and an item, and the grade."""
    for query, item, grade in judgements:
        yield f"{trec_id(query)} 0 {trec_id(item)} {grade:d}\n"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of `run_lines` or `qrels_lines` to a file, one at a time."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """Lower each score that is not below the one before by as little as float32 can tell, so that nothing is tied.

    `scores` are finite and in the order in which items were ranked. What comes back are numbers of float32.
    """
    lowered: list[float] = []
    for score in np.asarray(scores, dtype=np.float32):
        limit = np.nextafter(np.float32(lowered[-1]), np.float32(-np.inf)) if lowered else score
        lowered.append(float(min(score, limit)))
    return lowered


def read_run(path: Path) -> Iterator[RunLine]:
    """Read a run line by line, in whatever order it is; raises BadTrec. The rank and the tag are not looked at."""
    for number, (query, _, item, _, score, _) in _columns(path, RUN_COLUMNS):
        try:
            found = float(score)
        except ValueError:
            found = float("nan")
        if not isfinite(found):
            raise BadTrec(path, number, f"the score {score!r} is not a finite number")
        yield RunLine(query, item, found)


def read_qrels(path: Path) -> Iterator[Judgement]:
    """Read judgements line by line, in whatever order they are; raises BadTrec."""
    for number, (query, _, item, grade) in _columns(path, QRELS_COLUMNS):
        try:
            yield Judgement(query, item, int(grade))
        except ValueError:
            raise BadTrec(path, number, f"the grade {grade!r} is not a whole number") from None


def gather_run(path: Path) -> dict[str, Ranked]:
    """Bring a run's lines together by query; raises BadTrec. Takes 16 bytes a line and the names of items once."""
    run: dict[str, Ranked] = {}
    names: dict[str, str] = {}
    for query, item, score in read_run(path):
        ranked = run.setdefault(query, Ranked())
        ranked.items.append(names.setdefault(item, item))
        ranked.scores.append(score)
    for query, ranked in run.items():
        if len(set(ranked.items)) < len(ranked.items):
            twice = next(item for item in ranked.items if ranked.items.count(item) > 1)
            raise BadTrec(path, 0, f"query {query!r} ranks item {twice!r} more than once")
    return run


def gather_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Bring judgements together by query; raises BadTrec, also where there are none."""
    qrels: dict[str, dict[str, int]] = {}
    for query, item, grade in read_qrels(path):
        grades = qrels.setdefault(query, {})
        if grades.setdefault(item, grade) != grade:
            raise BadTrec(path, 0, f"query {query!r} has two grades for item {item!r}")
    if not qrels:
        raise BadTrec(path, 0, f"there is no judgement in it; a line is `{QRELS_COLUMNS}`")
    return qrels


def measure_files(run: Path, qrels: Path) -> dict[str, float]:
    """Measure a run file against a qrels file as ir_measures does, by its names of measures; raises BadTrec."""
    return measure(gather_run(run), gather_qrels(qrels))


def measure(run: Run, qrels: Qrels) -> dict[str, float]:
    """Average the measures of all queries of the qrels; one that ranked nothing counts 0, one that is not judged not.

    Success@k is the R@k of image-text retrieval; R@k is the share of the relevant items.
    """
    measured = [measure_query(run.get(query, Ranked()), grades) for query, grades in qrels.items()]
    return {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]} if measured else {}


def measure_query(ranked: Ranked, grades: Mapping[str, int]) -> dict[str, float]:
    """Measure what one query ranked, in the order in which trec_eval takes it, against its judged items."""
    places, found, judged = _places(ranked, grades)
    relevant, best = int((judged > 0).sum()), places[found > 0]
    first = int(best.min(initial=np.iinfo(np.int64).max))
    return {
        **{f"Success@{k}": float(first <= k) for k in (1, 5, 10)},
        **{f"R@{k}": share_found(best, relevant, k) for k in (5, 10)},
        "RR": 1 / first if len(best) else 0.0,
        "AP": average_precision(best, relevant),
        "P@5": precision(best, 5),
        "nDCG@10": graded_ndcg(places, found, judged, 10),
    }


def _places(ranked: Ranked, grades: Mapping[str, int]) -> tuple[Int64, Float64, Float64]:
    """Give the places and the grades of the judged items that were ranked, and all grades of the query."""
    with np.errstate(over="ignore"):
        # trec_eval holds scores in float32, so what differs by less is a tie there.
        scores = np.asarray(ranked.scores, dtype=np.float32).tolist()
    order = sorted(zip(scores, ranked.items, strict=True), reverse=True)
    found = [(place, grades[item]) for place, (_, item) in enumerate(order, start=1) if item in grades]
    places, worth = zip(*found, strict=True) if found else ((), ())
    return (
        np.array(places, dtype=np.int64),
        np.array(worth, dtype=np.float64),
        np.array(list(grades.values()), dtype=np.float64),
    )


def _columns(path: Path, columns: str) -> Iterator[tuple[int, list[str]]]:
    """Give the number and the columns of each line that has any."""
    wanted = len(columns.split())
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                # As bytes, because trec_eval takes no white space beyond ASCII to divide columns.
                found = line.split()
                if found and len(found) != wanted:
                    raise BadTrec(path, number, f"{len(found)} columns, not the {wanted} of `{columns}`")
                if found:
                    yield number, [column.decode() for column in found]
    except OSError as error:
        raise BadTrec(path, 0, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise BadTrec(path, number, "is not UTF-8") from error
    except ValueError as error:  # no name of a file
        raise BadTrec(path, 0, str(error)) from error
