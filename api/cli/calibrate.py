"""`sightline calibrate`: match probabilities held against a gallery's pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.shared import Bar, as_json, matcher_option, open_sightline, print_json

if TYPE_CHECKING:
    from api.results import Calibration


@click.command("calibrate")
@click.argument("target")
@matcher_option
@click.option("--queries", type=click.IntRange(min=1), help="So many queries per direction; 400 unless set.")
@as_json
def command(target: str, matcher: str | None, queries: int | None, json_wanted: bool) -> None:
    """Fit the match probabilities of TARGET, a gallery or a folder, to its pairs.

    Searches use the fit from then on. Without pairs, captions are written to calibrate by.
    """
    from api.schemas import CalibrationDetailOut

    sightline = open_sightline()
    with Bar() as bar:
        kept = sightline.calibrate(target, matcher=matcher, queries=queries, progress=bar)
    if json_wanted:
        print_json([CalibrationDetailOut.of(one).model_dump(mode="json") for one in kept])
        return
    for one in kept:
        click.echo(calibration_line(one))


def calibration_line(one: Calibration) -> str:
    """Say what match probabilities are worth in one direction: errors of the fit, and of the softmax as it comes."""
    basis = "captions written for it" if one.source == "captions" else "pairs"
    return (
        f"{one.direction:12} expected calibration error {one.error:.4f} over hits,"
        f" {one.first_error:.4f} over first hits (softmax {one.softmax_error:.4f}, {one.softmax_first_error:.4f});"
        f" {one.method}, {one.queries} queries from {basis}"
    )
