"""What the commands share: notices, progress bars, JSON and the line of a hit."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from api.signs import escaped, visible, visible_lines

if TYPE_CHECKING:
    from api.library import Sightline
    from api.results import Page
    from retrieval.types import Hit

Command = TypeVar("Command", bound=Callable[..., Any])


def as_json(function: Command) -> Command:
    """Add --json."""
    return click.option("--json", "json_wanted", is_flag=True, help="Print JSON instead of text.")(function)


def model_option(function: Command) -> Command:
    """Add --model."""
    meaning = "A name of `sightline models`, a Hugging Face id, a folder or a .pth file."
    return click.option("--model", metavar="MODEL", help=meaning)(function)


def matcher_option(function: Command) -> Command:
    """Add --matcher."""
    meaning = "Rerank by another model than the gallery's: a name, an id or a folder."
    return click.option("--matcher", metavar="MODEL", help=meaning)(function)


def pooled_option(function: Command) -> Command:
    """Add --pooled."""
    meaning = "Where pictures have several vectors: look closely at N only, found by the mean of each."
    return click.option("--pooled", type=int, metavar="N", help=meaning)(function)


def threshold_options(function: Command) -> Command:
    """Add --min-match and --target-precision."""
    for option in (
        click.option(
            "--target-precision",
            type=float,
            metavar="SHARE",
            help="Show only hits of which this share is right, by the gallery's calibration.",
        ),
        click.option("--min-match", type=float, metavar="P", help="Show only hits of at least this match probability."),
    ):
        function = option(function)
    return function


def ranking_options(function: Command) -> Command:
    """Add -k, --candidates, --matcher and --no-rerank."""
    for option in (
        matcher_option,
        click.option("--no-rerank", "rerank", flag_value=False, default=True, help="Leave the order of the ITC stage."),
        click.option("--candidates", type=int, help="How many ITC candidates the ITM head reads."),
        click.option("-k", type=int, default=10, show_default=True, help="How many hits to show."),
    ):
        function = option(function)
    return function


def open_sightline() -> Sightline:
    """Open the library with notices going to standard error."""
    from api.library import Sightline

    return Sightline(say=notice)


def notice(line: str) -> None:
    """Tell a person something beside the answer, on a line of its own where a bar is being drawn."""
    said = visible_lines(line)
    if "tqdm" not in sys.modules:
        click.echo(said, err=True)
        return
    from tqdm import tqdm

    tqdm.write(said, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(escaped(json.dumps(value, ensure_ascii=False, indent=2)))


class Bar:
    """A progress bar on standard error: count, rate and time left.

    While it moves, Ctrl-C waits for the batch in hand to be published: an interrupt in the middle of a transaction
    could leave the database locked until it is rolled back. A second Ctrl-C ends the process at once, which is as
    safe as a kill.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._before: Any = None
        self._interrupted = False

    def begin(self, what: str, total: int) -> None:
        """Start a bar; nothing to do needs none."""
        self.close()
        if self._before is None:
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        self._stop_if_interrupted()
        if total:
            from tqdm import tqdm

            seconds = 0.1 if sys.stderr.isatty() else 5.0
            self._bar = tqdm(total=total, desc=what, unit=f" {what}", mininterval=seconds, maxinterval=seconds)

    def advance(self, count: int) -> None:
        """Move on."""
        if self._bar is not None:
            self._bar.update(count)
        self._stop_if_interrupted()

    def close(self) -> None:
        """Leave the line as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if self._interrupted:
            os._exit(130)
        self._interrupted = True
        notice("\nStopping after this batch; Ctrl-C again stops at once.")

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        from api.errors import Stopped

        self.close()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if isinstance(error, Stopped):  # who cancels a command's job means what Ctrl-C does
            raise KeyboardInterrupt from None


def page_as_json(page: Page) -> dict[str, Any]:
    """Give a page the names it also has over HTTP."""
    from api.schemas import PageOut

    return PageOut.of(page).model_dump(mode="json")


def print_page(page: Page, sources: tuple[str, ...] = ()) -> None:
    """Print hits, a line each, and what a person should know about them."""
    tell_unknown(readers(page), page.unknown_words)
    if page.matcher not in (None, page.model):
        notice(f"Found by {page.model}, reranked by {page.matcher}.")
    if page.stages == "names":
        notice("Found by names and captions (full-text search); there are no match percentages.")
    if page.calibration is not None and page.calibration.source == "captions":
        notice("Match probabilities are calibrated by captions that a model wrote, not by pairs.")
    click.echo("\n".join(page_lines(page, sources)))


def page_lines(page: Page, sources: tuple[str, ...] = ()) -> list[str]:
    """Show hits, a line each; where nothing matches, that it does not, and the best that was found."""
    is_calibrated = page.calibration is not None
    if not page.nothing_matches:
        return [hit_line(hit, sources, is_calibrated=is_calibrated) for hit in page.hits] or ["No hits."]
    said = f"Nothing matches: no hit reaches a match probability of {page.threshold:.1%}."
    if page.best_below is None:
        return [said]
    return [f"{said} The best below it:", hit_line(page.best_below, sources, is_calibrated=is_calibrated)]


def readers(page: Page) -> str:
    """Name the models that read a page's query: its encoder, and its matcher where that is another."""
    return " or ".join(dict.fromkeys(name for name in (page.model, page.matcher) if name))


def tell_unknown(model: str, words: tuple[str, ...]) -> None:
    """Name the words that the model did not understand."""
    if words:
        notice(f"{model} does not know {', '.join(map(repr, words))}; only the rest was read.")


def hit_line(hit: Hit, sources: tuple[str, ...] = (), *, is_calibrated: bool) -> str:
    """Show a hit: its final rank, its file or text, ITC rank -> final rank, ITC similarity, match probability."""
    name = below(hit.uri, sources) if hit.text is None else visible(_credited(hit))
    if hit.itc_similarity is None:
        return f"{hit.rank:3d}  {name}"
    match = "stale: missing or changed" if hit.stale else ""
    if hit.match_probability is not None:
        match = f"match {hit.match_probability:7.2%}" + ("" if is_calibrated else " (not calibrated)")
    ranks = f"ITC {hit.itc_rank} -> {hit.rank}"
    return f"{hit.rank:3d}  {name}  {ranks}  similarity {hit.itc_similarity:.3f}  {match}".rstrip()


def _credited(hit: Hit) -> str:
    """Show a hit's text, and who wrote it where that was a model."""
    from storage.items import WRITTEN_BY

    if not hit.uri.startswith(WRITTEN_BY):
        return hit.text or ""
    return f"{hit.text}  (written by {hit.uri.removeprefix(WRITTEN_BY).rpartition('#')[0]})"


def below(uri: str, sources: tuple[str, ...]) -> str:
    """Shorten a file name by the folder or dataset of the gallery that it is of."""
    from indexer.sources.naming import name_below
    from indexer.uri import shown

    names = (name_below(uri, source) for source in sources)
    return visible(next((name for name in names if name), None) or shown(uri))
