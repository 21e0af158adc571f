"""`sightline ask`: a caption, or an answer to a question, about one picture."""

from __future__ import annotations

import click

from api.cli.shared import as_json, model_option, open_sightline, print_json, tell_unknown


@click.command("ask")
@click.argument("picture")
@click.argument("question", required=False)
@model_option
@as_json
def command(picture: str, question: str | None, model: str | None, json_wanted: bool) -> None:
    """Answer QUESTION about PICTURE, a file or an item's id; without a question, describe it."""
    from api.schemas import AnswerOut

    answer = open_sightline().ask(picture, question, model=model)
    tell_unknown(answer.model, answer.unknown_words)
    if json_wanted:
        print_json(AnswerOut.of(answer).model_dump())
        return
    click.echo(answer.text)
