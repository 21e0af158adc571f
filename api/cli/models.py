"""`sightline models`: the table of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.shared import as_json, open_sightline, print_json

if TYPE_CHECKING:
    from api.schemas import ModelOut

COLUMNS = "{:31} {:12} {:>6} {:>5} {:8} {:>8} {:>8}  {:13} {:26} {}"
"""Name, family, picture, text, score, download, memory, licence, what it does, state and source."""


@click.command("models")
@as_json
def command(json_wanted: bool) -> None:
    """List the models that have names: what they can do, what they need, and whether their weights are here."""
    from api.schemas import ModelOut

    rows = [ModelOut.of(row) for row in open_sightline().models()]
    if json_wanted:
        print_json([row.model_dump() for row in rows])
        return
    heads = ("name", "family", "pixels", "ids", "score", "download", "memory", "licence", "does", "where")
    click.echo(COLUMNS.format(*heads))
    for row in rows:
        click.echo(line(row))


def line(row: ModelOut) -> str:
    """Show a model: what does not apply or is not known is a dash."""
    return COLUMNS.format(
        row.name,
        row.family,
        row.image_size,
        row.text_length,
        row.protocol if {"encoder", "matcher"} & {*row.roles} else "-",
        _size(row.download_bytes),
        _size(row.memory_bytes),
        row.licence,
        _does(row.roles),
        _where(row),
    )


def _does(roles: list[str]) -> str:
    """Name what a model does in the words of the commands."""
    verbs = {"encoder": "search", "matcher": "rerank", "captioner": "caption", "answerer": "answer"}
    return ", ".join(verbs[role] for role in roles) or "-"


def _where(row: ModelOut) -> str:
    place = " + ".join(one.removeprefix("https://storage.googleapis.com/") for one in row.source)
    if row.not_run is not None:
        return f"not run, {row.not_run}: {place or 'no address known'}"
    if place in ("", "bundled"):
        return "here"
    return f"{'here' if row.cached else 'to download'}: {place}"


def _size(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
