"""The command line: one file per command, each loaded only when it is used or listed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

COMMANDS = (
    "index",
    "search",
    "lookup",
    "ask",
    "embed",
    "evaluate",
    "calibrate",
    "serve",
    "galleries",
    "models",
    "demo",
    "train",
    "bootstrap",
    "migrate",
)


class Commands(click.Group):
    """Loads commands by name, and turns domain errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command's file; heavy imports wait inside its function."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"api.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a user can understand is said in one line."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            from api.errors import DOMAIN, WRONG_COMMAND, exit_code
            from api.signs import visible_lines

            if not isinstance(error, (*DOMAIN, OSError)):
                raise
            code = exit_code(error)
            if code != WRONG_COMMAND or _speaks():
                click.echo(visible_lines(f"sightline: {error}"), err=True)
            raise click.exceptions.Exit(code) from error


def _speaks() -> bool:
    """Say whether this process tells what is wrong with a command: of torchrun's, the first one of each machine."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK") == "0"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sightline")
def sightline() -> None:
    """Find pictures by what they show: ITC finds candidates, ITM reranks them."""
    # The libraries below talk about themselves; a person at the command line wants the answer.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    sightline(args=arguments, prog_name="sightline")
