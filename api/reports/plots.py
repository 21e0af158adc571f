"""Plots as SVG that lives inside a page: text stays text, colours are the page's own, nothing is fetched.

Series differ by marker and line as well as by colour. Matplotlib is imported when the first plot is drawn: it takes a
while, and only pages need it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from retrieval.evaluation.measured import Depths
from retrieval.evaluation.measures import Bin, RecallCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Mapping[str, str] = {
    "ink": "#17171a",
    "soft": "#5a5a62",
    "line": "#dededb",
    "first": "#0072b2",
    "second": "#b8460e",
    "third": "#00715d",
    "fourth": "#8a4f9e",
}
"""What each of the page's colours is while a plot is drawn; in the page it follows light and dark."""
STYLES = (("first", "o", "-"), ("second", "s", "--"), ("third", "^", ":"))
"""Colour, marker and line of each series."""
HATCHES = ("", "//", "xx", "--", "..")
SIZE = (4.9, 2.9)
"""Inches; at this size letters are as large as the page's small ones."""
MOST_TICKS = 8
FAR_APART = 10
"""Where the largest number is so many times the least, an axis is logarithmic."""

_drawing = Lock()


@dataclass(frozen=True)
class Plot:
    """A plot and, for who cannot see it, a sentence of what it shows."""

    svg: str
    says: str


def recall_by_candidates(name: str, depths: Depths) -> Plot:
    """Draw recall at 1 and 10 against the number of candidates; `name` keeps ids apart within a page."""
    return _recall_by(name, depths, depths.candidates, "candidates")


def recall_by_milliseconds(name: str, depths: Depths) -> Plot:
    """Draw recall at 1 and 10 against the milliseconds that a query takes."""
    return _recall_by(name, depths, depths.milliseconds, "milliseconds per query")


def recall_by_depth(name: str, curve: RecallCurve) -> Plot:
    """Draw recall at every depth of the page, before and after reranking."""

    def draw(axes: Axes) -> None:
        stages = [("first stage", curve.before), ("after reranking", curve.after)]
        for (colour, marker, line), (label, values) in zip(STYLES, stages, strict=False):
            if values is not None:
                _series(axes, curve.k, values, colour, marker, line, label)
        _numbers(axes, curve.k, "k")
        _percents(axes, "recall@k")
        axes.legend(loc="lower right")

    return _plot(name, draw, "Recall at each depth k of the page, by the first stage and after reranking")


def misses(name: str, counts: Mapping[str, Mapping[str, int]], queries: int, causes: Sequence[str]) -> Plot:
    """Draw for every recall@k the share of queries that each of some causes lost, as stacked bars."""

    def draw(axes: Axes) -> None:
        labels = [measure.replace("recall@", "R@") for measure in counts]
        ends = [0.0] * len(labels)
        colours = ("first", "second", "third", "fourth", "line")
        for cause, colour, hatch in zip(causes, colours, HATCHES, strict=False):
            shares = [100 * one.get(cause, 0) / max(queries, 1) for one in counts.values()]
            axes.barh(
                labels,
                shares,
                left=ends,
                height=0.55,
                label=cause,
                color=COLOURS[colour],
                # White lines on a colour, whatever the page's ground is.
                edgecolor="#ffffff",
                hatch=hatch,
                linewidth=0.6,
            )
            ends = [end + share for end, share in zip(ends, shares, strict=True)]
        axes.set_xlim(0, max(*ends, 1.0) * 1.05)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(_percent)
        axes.set_xlabel("queries missed")
        axes.grid(axis="x", color=COLOURS["line"], linewidth=0.6)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=len(causes))

    return _plot(name, draw, "Share of queries missed at each cut-off, stacked by cause", size=(4.9, 2.3))


def reliability(name: str, bins: Sequence[Bin]) -> Plot:
    """Draw what was promised against what came true; on the diagonal both are the same."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=COLOURS["soft"], linestyle="--", linewidth=1, label="as promised")
        promised, came = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
        most = max((one.count for one in bins), default=1)
        areas = [14 + 110 * one.count / most for one in bins]
        axes.scatter(promised, came, s=areas, color=COLOURS["first"], clip_on=False, zorder=3, label="measured")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)
        axes.set_xlabel("match probability")
        axes.set_ylabel("share that was right")
        axes.grid(color=COLOURS["line"], linewidth=0.6)
        axes.legend(loc="upper left")

    return _plot(name, draw, "Match probabilities of first hits against the share of them that was right")


def _recall_by(name: str, depths: Depths, places: Sequence[float], what: str) -> Plot:
    def draw(axes: Axes) -> None:
        for (colour, marker, line), (measure, values) in zip(STYLES, depths.recall.items(), strict=False):
            _series(axes, places, values, colour, marker, line, measure.replace("recall@", "R@"))
        _mark_cheapest(axes, depths, places)
        _numbers(axes, places, what)
        _percents(axes, "recall")
        axes.legend(loc="best")

    return _plot(name, draw, f"Recall at 1 and at 10 against {what}; a ring marks the cheapest within half a point")


def _series(
    axes: Axes, places: Sequence[float], values: Sequence[float], colour: str, marker: str, line: str, label: str
) -> None:
    percents = [100 * value for value in values]
    axes.plot(
        places, percents, color=COLOURS[colour], marker=marker, markersize=4, linestyle=line, linewidth=1.4, label=label
    )


def _mark_cheapest(axes: Axes, depths: Depths, places: Sequence[float]) -> None:
    """Put a ring around each cheapest setting; the number of candidates stands below the lowest that has it."""
    said: set[int] = set()
    for (colour, *_), (measure, values) in sorted(
        zip(STYLES, depths.recall.items(), strict=False), key=lambda one: one[1][1]
    ):
        cheapest = depths.cheapest[measure]
        place = depths.candidates.index(cheapest)
        at = (places[place], 100 * values[place])
        axes.plot(*at, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=COLOURS[colour])
        if cheapest not in said:
            label = f"{cheapest} candidates"
            axes.annotate(label, at, xytext=(0, -18), textcoords="offset points", ha="center", color=COLOURS["ink"])
        said.add(cheapest)


def _numbers(axes: Axes, values: Sequence[float], label: str) -> None:
    """Make an axis of numbers, logarithmic where they lie far apart."""
    low, high = min(values), max(values)
    if low > 0 and high > FAR_APART * low:
        axes.set_xscale("log")
        ticks = _round_numbers(low, high)
        axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(label)
    axes.margins(x=0.09)


def _round_numbers(low: float, high: float) -> list[float]:
    """Choose 1, 2, 5, 10, 20 and so on between two numbers, or only powers of ten where those would be too many."""
    powers = range(-4, 10)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps]
        inside = [one for one in found if low * 0.95 <= one <= high * 1.05]
        if len(inside) <= MOST_TICKS:
            break
    return inside


def _percents(axes: Axes, label: str) -> None:
    """Make the upright axis one of percents, with room below for what is said of a point."""
    axes.margins(y=0.16)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.12 * (high - low) if high - low > 1 else low - 5, min(high, 104.0) if high > low else 104.0)
    axes.yaxis.set_major_formatter(_percent)
    axes.set_ylabel(label)
    axes.grid(color=COLOURS["line"], linewidth=0.6)


def _percent(value: float, _place: float) -> str:
    return f"{value:g} %"


def _plot(name: str, draw: Callable[[Axes], None], says: str, *, size: tuple[float, float] = SIZE) -> Plot:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The settings below are the whole process's while a plot is drawn.
    with _drawing, rc_context(_settings(name)):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        file = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return Plot(_for_a_page(file.getvalue(), name, says), says)


def _settings(name: str) -> dict[Any, Any]:
    ink, soft, line = COLOURS["ink"], COLOURS["soft"], COLOURS["line"]
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 9,
        "hatch.linewidth": 0.6,
        "hatch.color": "#ffffff",
        "text.color": ink,
        "axes.edgecolor": soft,
        "axes.labelcolor": ink,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "grid.color": line,
        "legend.frameon": False,
    }


def _for_a_page(svg: str, name: str, says: str) -> str:
    """Make a file's SVG a part of a page: ids of its own, the page's colours and letters, a name for who listens."""
    svg = svg[svg.index("<svg") :]
    for pattern, by in _CHANGES:
        svg = re.sub(pattern, by, svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, value in COLOURS.items():
        svg = re.sub(rf'(fill|stroke)="{value}"', rf'style="\1: var(--{colour})"', svg)
        svg = svg.replace(value, f"var(--{colour})")
    box = re.search(r'viewBox="[^"]+"', svg)
    assert box is not None
    head = f'<svg class="plot" role="img" aria-label="{escape(says)}" {box[0]}>'
    return head + svg[svg.index(">") + 1 :].strip()


_CHANGES: Iterable[tuple[str, str]] = (
    (r"<!--.*?-->", ""),
    # A style sheet inside a page would hold for all of it.
    (r"<defs>\s*<style.*?</style>\s*</defs>", ""),
    (r"font-family: ?[^;\"]+", "font-family: inherit"),
    (r"font: ?([\d.]+px) [^;\"]+", r"font-size: \1; font-family: inherit"),
    (r">\s+<", "><"),
)
