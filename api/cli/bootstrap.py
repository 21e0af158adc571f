"""`sightline bootstrap`: captions that a model writes and believes, and pairs that it doubts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from api.cli.shared import Bar, as_json, notice, open_sightline, print_json

if TYPE_CHECKING:
    from api.results import Bootstrapped, ReviewRow

SHOWN = 20
"""How many doubted pairs a terminal shows."""


@click.command("bootstrap")
@click.argument("target", metavar="GALLERY")
@click.option("--captioner", metavar="MODEL", help="Who writes; the companion of the gallery's model unless set.")
@click.option("--threshold", type=float, default=0.5, show_default=True, help="Match probability to be believed.")
@click.option("--out", metavar="FILE", help="Write the table to review: .csv or .jsonl.")
@click.option("--apply", "review", metavar="FILE", help="Follow the column keep (yes or no) of a reviewed table.")
@click.option("--write", is_flag=True, help="Store the believed captions as synthetic pairs.")
@as_json
def command(
    target: str,
    captioner: str | None,
    threshold: float,
    out: str | None,
    review: str | None,
    write: bool,
    json_wanted: bool,
) -> None:
    """Caption the pictures of GALLERY and doubt its pairs.

    CapFilt of BLIP: the captioner writes a text for every picture, and the ITM head says which texts it believes, the
    given ones included. What was judged is remembered: the same command goes on after a kill.
    """
    sightline = open_sightline()
    try:
        with Bar() as bar:
            found = sightline.bootstrap(
                target, captioner=captioner, threshold=threshold, write=write, review=review, out=out, progress=bar
            )
        sources = sightline.gallery(found.gallery).sources
    except KeyboardInterrupt:
        notice("Stopped. The same command goes on from here.")
        raise click.exceptions.Exit(130) from None
    _tell(found)
    if json_wanted:
        print_json(bootstrap_as_json(found))
        return
    click.echo(bootstrap_page(found, sources, wrote=write, table=out))


def bootstrap_as_json(found: Bootstrapped) -> dict[str, Any]:
    """Give counts and the rows to review the names that they have in the table."""
    from api.doors.reviews import as_record
    from api.results import BELIEVED, DOUBTED, REJECTED, TRUSTED

    kinds = {kind: len(found.of_kind(kind)) for kind in (BELIEVED, REJECTED, TRUSTED, DOUBTED)}
    return {
        "gallery": found.gallery,
        "model": found.model,
        "captioner": found.captioner,
        "threshold": found.threshold,
        "pictures": found.pictures,
        "looked_at": found.looked_at,
        "missing": found.missing,
        "counts": kinds,
        "added": found.added,
        "removed": found.removed,
        "unknown": found.unknown,
        "rows": [as_record(row) for row in found.review],
    }


def bootstrap_page(found: Bootstrapped, sources: tuple[str, ...], *, wrote: bool, table: str | None) -> str:
    """Show the counts, the most doubted pairs that nobody has decided on, and what became of the captions."""
    from api.results import BELIEVED, DOUBTED, REJECTED, TRUSTED

    believed, rejected = len(found.of_kind(BELIEVED)), len(found.of_kind(REJECTED))
    doubted, trusted = found.of_kind(DOUBTED), len(found.of_kind(TRUSTED))
    lines = [
        f"{found.gallery}: {found.pictures} pictures, captions by {found.captioner}, judged by {found.model}",
        f"new captions: {believed} believed, {rejected} rejected, at a match probability of {found.threshold:.0%}",
        f"given pairs: {trusted} trusted, {len(doubted)} doubted",
    ]
    undecided = [row for row in doubted if row.keep is None]
    if undecided:
        lines += ["Most doubted:", *(_line(row, sources) for row in undecided[:SHOWN])]
    dropped = [row for row in found.rows if row.keep is False]
    if dropped:
        given = sum(row.kind in {TRUSTED, DOUBTED} for row in dropped)
        lines.append(f"Dropped by review: {given} given pairs, {len(dropped) - given} captions")
    if table is not None:
        lines.append(f"Table to review: {table}, {len(found.review)} rows")
    if wrote:
        lines.append(f"Stored: {found.added} synthetic pairs came, {found.removed} went")
    elif believed:
        lines.append("Nothing was stored; --write stores the captions that are believed.")
    return "\n".join(lines)


def _line(row: ReviewRow, sources: tuple[str, ...]) -> str:
    from api.cli.shared import below

    return f"{row.match_probability:8.2%}  {below(row.file, sources)}  {row.text}"


def _tell(found: Bootstrapped) -> None:
    if found.missing:
        notice(f"{found.missing} pictures are missing or changed and were passed over: index {found.gallery} again")
    if found.unknown:
        notice(f"{found.unknown} rows of the review are not known to {found.gallery} and were passed over")
