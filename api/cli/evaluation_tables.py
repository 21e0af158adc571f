"""Evaluations as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from api.cli.calibrate import calibration_line
from api.signs import visible

if TYPE_CHECKING:
    from api.results import Evaluated, EvaluationRow, MeasuredDirection

STAGES = (("before", "before reranking"), ("after", "after reranking"))
RECALLS = ("recall@1", "recall@5", "recall@10")
SCORE_NAMES = {"itm-probability": "probability"}


def evaluation_table(evaluated: Evaluated) -> str:
    """Show what was measured: measures with intervals, ties, scores, what lost recall, and how deep is enough."""
    lines = [_headline(evaluated), *_scope(evaluated), *_departures(evaluated)]
    lines.append(
        f"{'direction':12} {'queries':>7} {'stage':18} {'R@1':>7} {'R@5':>7} {'R@10':>7}"
        f" {'MRR':>6} {'nDCG@10':>7} {'median':>6}"
    )
    for one in evaluated.directions:
        lines += _stages(one)
    for stage, words in STAGES:
        if stage in evaluated.mean_recall:
            lines.append(f"mean recall {words}: {evaluated.mean_recall[stage]:.1%}")
    for one in evaluated.directions:
        lines += [*_intervals(one), *_folds(one), *_authors(one), *_scores(one), *_misses(one), *_depths(one)]
        if one.unread:
            lines.append(f"{one.name}: {one.unread} queries were missed because a picture could not be read")
    lines += [calibration_line(one.calibration) for one in evaluated.directions if one.calibration is not None]
    return "\n".join(lines)


def list_table(found: Sequence[EvaluationRow]) -> str:
    """Show a line per evaluation."""
    if not found:
        return "No evaluations."
    head = f"{'id':>5} {'when':16} {'task':9} {'model':20} {'matcher':20} {'protocol':15} {'cands':>5}  mean recall"
    lines = [head]
    for one in found:
        recalls = " -> ".join(f"{one.mean_recall[stage]:.1%}" for stage, _ in STAGES if stage in one.mean_recall)
        said = recalls if one.state == "done" else "not finished: --resume goes on, --forget ID forgets it"
        when, matcher, protocol = f"{one.created_at:%Y-%m-%d %H:%M}", one.matcher or "-", one.protocol or "-"
        candidates = "-" if one.candidates is None else str(one.candidates)
        line = f"{one.id:5d} {when:16} {one.task:9} {one.model:20} {matcher:20} {protocol:15} {candidates:>5}  {said}"
        lines.append("; ".join([line.rstrip(), *map(visible, one.scope)]))
    return "\n".join(lines)


def _headline(evaluated: Evaluated) -> str:
    protocol = "" if evaluated.protocol is None else f", protocol {evaluated.protocol}"
    return (
        f"evaluation {evaluated.id}: {evaluated.gallery}, model {evaluated.model}{protocol}, "
        f"{evaluated.candidates} candidates {_reading(evaluated)}"
    )


def _reading(evaluated: Evaluated) -> str:
    """Say what became of the candidates, and how they were found where that is unusual."""
    said = "not reranked" if evaluated.matcher is None else "reranked"
    if evaluated.matcher not in (None, evaluated.model):
        said += f" by {evaluated.matcher}"
    return said if evaluated.pooled is None else f"{said}, first pass over {evaluated.pooled}"


def _scope(evaluated: Evaluated) -> list[str]:
    return [f"measured: {visible('; '.join(evaluated.scope))}"] if evaluated.scope else []


def _departures(evaluated: Evaluated) -> list[str]:
    if not evaluated.departures:
        return []
    return [f"not as protocol {evaluated.protocol} has it: {'; '.join(evaluated.departures)}"]


def _stages(one: MeasuredDirection) -> Iterator[str]:
    for stage, words in STAGES:
        measures = one.before if stage == "before" else one.after
        if measures is not None:
            recalls = " ".join(f"{measures[name]:7.1%}" for name in RECALLS)
            more = "".join(
                f" {measures[name]:{width}.3f}" for name, width in (("mrr", 6), ("ndcg@10", 7)) if name in measures
            )
            median = "" if "median_rank" not in measures else f" {_median(measures['median_rank']):>6}"
            yield f"{one.name:12} {one.queries or 0:7d} {words:18} {recalls}{more}{median}"


def _median(rank: float | None) -> str:
    return "missed" if rank is None else f"{rank:g}"


def _intervals(one: MeasuredDirection) -> Iterator[str]:
    stage = "after" if one.after is not None else "before"
    found = one.intervals.get(stage, {})
    said = [f"{_short(name)} {found[name][0]:.1%} to {found[name][1]:.1%}" for name in RECALLS if name in found]
    if said:
        yield f"{one.name}: 95 % intervals: {', '.join(said)}"


def _folds(one: MeasuredDirection) -> Iterator[str]:
    if one.folds:
        said = ", ".join(f"{fold['recall@1']:.1%}" for fold in one.folds)
        yield f"{one.name}: R@1 of the {len(one.folds)} folds: {said}"


def _authors(one: MeasuredDirection) -> Iterator[str]:
    stage = "after" if one.after is not None else "before"
    measures = one.after if one.after is not None else one.before
    authors = one.authors.get(stage)
    if authors and any(authors[name] != measures[name] for name in RECALLS):
        said = ", ".join(f"{_short(name)} {authors[name]:.2%}" for name in RECALLS)
        yield f"{one.name}: the authors' own sort, where ties fall by accident, gives {said}"
    elif authors:
        yield f"{one.name}: the authors' own sort of these scores gives the same recalls"


def _scores(one: MeasuredDirection) -> Iterator[str]:
    if one.scores:
        said = ", ".join(f"{SCORE_NAMES.get(name, name)} {found['recall@1']:.1%}" for name, found in one.scores.items())
        yield f"{one.name}: R@1 by score, same candidates: {said}"


def _misses(one: MeasuredDirection) -> Iterator[str]:
    for name in ("recall@1", "recall@10"):
        causes = one.misses.get(name, {})
        said = ", ".join(f"{cause} {count}" for cause, count in causes.items() if count)
        if said:
            yield f"{one.name}: missed at {_short(name)}: {said}"


def _depths(one: MeasuredDirection) -> Iterator[str]:
    if one.depths is None:
        return
    for name, cheapest in one.depths.cheapest.items():
        place, recalls = one.depths.candidates.index(cheapest), one.depths.recall[name]
        best = max(recalls)
        many = "1 candidate reaches" if cheapest == 1 else f"{cheapest} candidates reach"
        said = f"{many} {recalls[place]:.1%} at {one.depths.milliseconds[place]:.0f} ms a query"
        yield f"{one.name}: {_short(name)}: {said}; the best of all depths is {best:.1%}"


def _short(name: str) -> str:
    return name.replace("recall", "R")
