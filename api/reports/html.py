"""An evaluation as one page that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.reports import plots, words
from api.reports.examples import Extremes
from api.reports.plots import Plot
from api.results import Evaluated, MeasuredDirection
from api.signs import visible
from retrieval.evaluation.measured import DEPTH_CUTOFFS
from retrieval.evaluation.protocols import Protocol

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
NAMES: Mapping[str, str] = {"text->image": "by-text", "image->text": "by-picture"}
"""What ids of a direction begin with."""


@dataclass(frozen=True)
class Drawn:
    """The plots of one direction; what was not measured is not drawn."""

    curve: Plot | None
    misses: Plot | None
    candidates: Plot | None
    milliseconds: Plot | None
    reliability: Plot | None


def page(
    evaluated: Evaluated,
    *,
    protocol: Protocol | None,
    revision: int,
    examples: Mapping[str, Extremes],
    notices: tuple[str, ...] = (),
) -> str:
    """Show an evaluation with its best and worst queries, which are given by direction.

    `protocol` explains the rules that were followed, `revision` is the gallery's today, and `notices` are sentences
    about what the page could not show.
    """
    return render(
        "evaluation.html.j2",
        evaluated=evaluated,
        protocol=protocol,
        revision=revision,
        examples=examples,
        notices=notices,
        drawn={one.name: _drawn(one) for one in evaluated.directions},
    )


def render(template: str, **values: Any) -> str:
    """Fill a template. Everything that is not markup of our own is escaped, whoever wrote it, and holds no controls."""
    return _templates().get_template(template).render(values)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"words": words, "names": NAMES, "cutoffs": DEPTH_CUTOFFS, "style": _style()}
    return found


def _visible(value: Any) -> Any:
    """Take the signs out of a text that is not markup that a page would obey, or that no UTF-8 writes."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _style() -> str:
    return (TEMPLATES / "style.css").read_text(encoding="utf-8")


def _drawn(one: MeasuredDirection) -> Drawn:
    name, deep, fitted = NAMES[one.name], one.depths, one.calibration
    causes = [cause.name for cause in words.causes(one)]
    return Drawn(
        curve=plots.recall_by_depth(f"{name}-curve", one.curve) if one.curve is not None and one.curve.k else None,
        misses=plots.misses(f"{name}-misses", one.misses, one.queries or 0, causes) if one.misses else None,
        candidates=plots.recall_by_candidates(f"{name}-candidates", deep) if deep is not None else None,
        milliseconds=plots.recall_by_milliseconds(f"{name}-milliseconds", deep) if deep is not None else None,
        reliability=plots.reliability(f"{name}-reliability", fitted.bins) if fitted is not None else None,
    )
