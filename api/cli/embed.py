"""`sightline embed`: the vectors of pictures and texts, for a vector database or another program."""

from __future__ import annotations

import shutil
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import click

from api.cli.lookup import read_texts
from api.cli.shared import Bar, model_option, notice, open_sightline

if TYPE_CHECKING:
    from api.results import Exported

SHOWN = 20
"""How many files that are no pictures a terminal shows."""


@click.command("embed")
@click.argument("pictures", nargs=-1)
@click.option("--text", "said", multiple=True, metavar="TEXT", help="Embed this text; may be given again.")
@click.option("--texts", metavar="FILE", help="Embed the lines of this file; - is standard input.")
@click.option("--pairs", is_flag=True, help="Embed picture i read together with text i.")
@model_option
@click.option("--unprojected", is_flag=True, help="Give the states before the projection into the common space.")
@click.option("--every-token", is_flag=True, help="Give the vectors of all tokens, not only those that are compared.")
@click.option("--out", metavar="FILE", help="Write .npy, .parquet or .json; without it, JSON is printed.")
def command(
    pictures: tuple[str, ...],
    said: tuple[str, ...],
    texts: str | None,
    pairs: bool,
    model: str | None,
    unprojected: bool,
    every_token: bool,
    out: str | None,
) -> None:
    """Give the vectors of PICTURES or of texts.

    PICTURES are files, folders (all pictures below them), or the name of one gallery, whose stored embeddings are
    given. Beside an array, FILE.npy, lies FILE.npy.names.json, which says what its rows are.
    """
    sightline = open_sightline()
    given = [*said, *(read_texts(texts) if texts is not None else [])]
    # One name alone may be that of a gallery.
    images = pictures[0] if len(pictures) == 1 else pictures or None
    with Bar() as bar, TemporaryFile() as page:
        written = sightline.embed_into(
            page if out is None else out,
            images,
            texts=given,
            model=model,
            pairs=pairs,
            projected=False if unprojected else None,
            every_token=every_token,
            progress=bar,
        )
        bar.close()
        # Printed when all is done: what fails half way prints nothing.
        page.seek(0)
        with click.open_file("-", "wb") as output:
            shutil.copyfileobj(page, output)
    _tell(written)
    if out is not None:
        click.echo(f"{out}: {' x '.join(map(str, written.shape))} numbers (model {written.model})")


def _tell(written: Exported) -> None:
    for uri, reason in written.failed[:SHOWN]:
        notice(f"skipped {uri}: {reason}")
    if len(written.failed) > SHOWN:
        notice(f"... and {len(written.failed) - SHOWN} more")
