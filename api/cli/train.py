"""`sightline train`: train a model with this project's own code."""

from __future__ import annotations

import click


@click.command("train", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Train a model: `sightline train postcards --out DIR`; the same as `python -m retrieval.training`."""
    from retrieval.training.__main__ import main

    main(list(arguments))
