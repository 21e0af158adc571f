"""What an evaluation says in words: numbers as people read them, names of things, and a sentence for each finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from api.results import Calibration, Evaluated, MeasuredDirection, Recalls
from retrieval.evaluation.measured import CUT_OFF, ENCODER, INDEX, RERANKER, UNREAD, Depths
from retrieval.evaluation.measures import CUTOFFS
from retrieval.evaluation.pages import IMAGES, TEXTS

TITLES: Mapping[str, str] = {IMAGES: "Pictures found by text", TEXTS: "Texts found by picture"}
ASKED: Mapping[str, str] = {IMAGES: "texts", TEXTS: "pictures"}
FOUND: Mapping[str, str] = {IMAGES: "picture", TEXTS: "text"}
STAGES: Mapping[str, str] = {"before": "first stage", "after": "after reranking"}
MEASURES: Mapping[str, str] = {
    **{f"recall@{k}": f"R@{k}" for k in CUTOFFS},
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
    "median_rank": "median rank",
}
"""The columns of the table, in order."""
SCORES: Mapping[str, tuple[str, str]] = {
    "itc": ("itc", "the cosine of the first stage alone"),
    "itm": ("itm", "the match logit alone"),
    "itm+itc": ("itm+itc", "the match logit and the cosine added"),
    "itm-probability": ("probability", "the softmax of both match logits"),
}
"""How candidates can be scored: what a person calls it, and what it is."""
MISSED = "missed"
SAME = 1e-12
"""Shares that differ by less are equal but for rounding."""


@dataclass(frozen=True)
class Cause:
    """Why a query is lost: what the cause means, and what would help."""

    name: str
    meaning: str
    helps: str


CAUSES: Mapping[str, Cause] = {
    ENCODER: Cause(
        ENCODER,
        "the embedding puts too many wrong items before the right one, and reranking it would not make that good",
        "a better or fine-tuned encoder",
    ),
    INDEX: Cause(
        INDEX,
        "the right item is more similar than the last candidate, so an exact search would have handed it on",
        "an exact first stage, or a larger first pass (--pooled)",
    ),
    CUT_OFF: Cause(
        CUT_OFF,
        "the right item lies behind the last candidate, and the matcher would have brought it up had it read it",
        "more candidates (--candidates)",
    ),
    RERANKER: Cause(
        RERANKER,
        "the right item was among the candidates, and the matcher put others before it",
        "another matcher or score, or fine-tuning the match head",
    ),
    UNREAD: Cause(
        UNREAD, "a picture that the matcher had to read is gone or damaged", "putting it back, or indexing again"
    ),
}
FIRST_STAGE_ALONE = Cause(
    ENCODER, "the embedding puts too many wrong items before the right one", "a better encoder, or a matcher"
)
"""What the encoder's misses mean where nothing is reranked."""


def percent(share: float | None) -> str:
    """Write a share of 1 as percent with one decimal; what was not measured is a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Write a difference of shares in points, without a sign."""
    return f"{100 * abs(share):.1f} points"


def milliseconds(number: float) -> str:
    """Write milliseconds with as many digits as mean something."""
    if number >= 10_000:
        return f"{number / 1000:,.1f} s"
    return f"{number:,.0f} ms" if number >= 10 else f"{number:.2g} ms"


def duration(seconds: float | None) -> str:
    """Write seconds as hours, minutes and seconds."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count(number: int | None) -> str:
    """Write a number of things."""
    return "–" if number is None else f"{number:,}"


def value(measure: str, number: float | None) -> str:
    """Write a measure: recall in percent, a median rank as a rank, anything else with three decimals."""
    if measure == "median_rank":
        return MISSED if number is None else f"{number:g}"
    if number is None:
        return "–"
    return percent(number) if measure.startswith("recall@") else f"{number:.3f}"


def signed(measure: str, difference: float) -> str:
    """Write a difference of a measure with its sign: recall in points."""
    said = f"{100 * difference:+.1f}" if measure.startswith("recall@") else f"{difference:+.3f}"
    return said.replace("-", "−")


def score(number: float) -> str:
    """Write a score or a similarity, with a minus that is one."""
    return f"{number:.3f}".replace("-", "−")


def ends(measure: str, interval: tuple[float | None, float | None] | None) -> str:
    """Write both ends of an interval, without a unit."""
    if interval is None:
        return ""
    return " – ".join(value(measure, end).removesuffix(" %") for end in interval)


def rank(place: int | None) -> str:
    """Write the rank of a query's first right item."""
    return MISSED if place is None else str(place)


def stages(one: MeasuredDirection) -> Iterator[tuple[str, Recalls]]:
    """Give the stages that were measured, with their measures."""
    yield "before", one.before
    if one.after is not None:
        yield "after", one.after


def headline(one: MeasuredDirection) -> str:
    """Say what a direction comes to."""
    last = one.before if one.after is None else one.after
    said = (
        f"The right {FOUND[one.name]} comes first for {percent(last['recall@1'])} of {count(one.queries)} "
        f"{ASKED[one.name]}, and is among the first ten for {percent(last['recall@10'])}"
    )
    if one.after is None:
        return f"{said}. Nothing was reranked."
    gain = (one.after["recall@1"] or 0.0) - (one.before["recall@1"] or 0.0)
    if abs(gain) < SAME:
        return f"{said}. Reranking left the share of first places as it was."
    return f"{said}. Reranking {'gained' if gain > 0 else 'lost'} {points(gain)} of first places."


def of_protocol(evaluated: Evaluated) -> list[str]:
    """Say what was done otherwise than the protocol says."""
    return [f"not the protocol's: {clause}" for clause in evaluated.departures]


def matching(evaluated: Evaluated) -> str:
    """Say who reranked, and how many."""
    if evaluated.matcher is None:
        return "none; nothing was reranked"
    same = ", the gallery's own" if evaluated.matcher == evaluated.model else ""
    return f"{evaluated.matcher}{same}, {evaluated.candidates:,} candidates"


def of_ties(one: MeasuredDirection) -> str:
    """Say whether the authors' sort counts otherwise than ours, and by how much."""
    measured = dict(stages(one))
    differences = [
        (abs(share - ours), stage, name)
        for stage, recalls in one.authors.items()
        for name, share in recalls.items()
        if share is not None and (ours := measured[stage].get(name)) is not None
    ]
    largest, stage, name = max(differences, default=(0.0, "", ""))
    if largest < SAME:
        return "Both count the same here: no tie decided anything."
    return f"They differ by up to {points(largest)} here ({MEASURES[name]}, {STAGES[stage]})."


def causes(one: MeasuredDirection) -> list[Cause]:
    """Explain what a direction's queries can be lost by: without a reranker, that is the encoder or the index."""
    if one.after is None:
        return [FIRST_STAGE_ALONE, CAUSES[INDEX]]
    return [cause for cause in CAUSES.values() if cause.name != UNREAD or one.unread]


def of_misses(one: MeasuredDirection) -> str:
    """Say what lost most first places."""
    counts = one.misses["recall@1"]
    total = sum(counts.values())
    if not total:
        return "No query lost its first place."
    most = max(counts, key=lambda name: counts[name])
    lost = f"{count(total)} of {count(one.queries)} {ASKED[one.name]} lost the first place to something wrong"
    if counts[most] == total:
        return f"{lost}, by the {most}."
    return f"{lost}, most by the {most} ({count(counts[most])})."


def of_depths(depths: Depths, measure: str) -> str:
    """Say what the cheapest setting within half a point gives, and what the best one gains."""
    shares = depths.recall[measure]
    cheap = depths.candidates.index(depths.cheapest[measure])
    best = max(range(len(shares)), key=lambda place: shares[place])
    said = (
        f"{count(depths.candidates[cheap])} candidates: {percent(shares[cheap])} {MEASURES[measure]} "
        f"at {milliseconds(depths.milliseconds[cheap])}"
    )
    if shares[best] - shares[cheap] < SAME:
        return f"{said}; no other number of candidates gains anything."
    more = depths.milliseconds[best] - depths.milliseconds[cheap]
    gain = points(shares[best] - shares[cheap])
    return f"{said}; {count(depths.candidates[best])} gain {gain} for {milliseconds(more)} more."


def of_calibration(found: Calibration) -> str:
    """Say what match probabilities are worth."""
    return (
        f"A match probability is off by {100 * found.first_error:.1f} points on average for first hits "
        f"({100 * found.softmax_first_error:.1f} as the softmax comes), by {100 * found.error:.1f} over all hits "
        f"({100 * found.softmax_error:.1f}). Measured on queries that the fit had not seen, each asked with and "
        "without what is right."
    )
