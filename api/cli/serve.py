"""`sightline serve`: the HTTP service."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from api.hosted import Hosted

LEVELS = ("critical", "error", "warning", "info", "debug")
SHUTDOWN_SECONDS = 10
"""How long requests that have begun may go on after Ctrl-C."""
GIVEN_UP = 130
"""The exit code where something was not waited for: that of Ctrl-C."""


@click.command("serve")
@click.option("--host", help="The address to listen on; 127.0.0.1 unless set.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 8000 unless set, 0 takes a free one.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="warning",
    show_default=True,
    help="How much is logged; from info on, every request.",
)
@click.option("--no-demo", "demo", flag_value=False, default=True, help="Leave an empty home empty.")
def command(host: str | None, port: int | None, log_level: str, demo: bool) -> None:
    """Serve all galleries over HTTP, with a page to look at; the interface is described at /docs.

    Where there is nothing to search yet, a small gallery of drawn postcards is made.
    """
    import logging
    import os

    # Threads of a model that wait for each other by spinning take the cores from the event loop and from the other
    # worker: 64 queries at once ran at 0.4 times the rate of one at a time, and at 3.9 times when they sleep instead.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    import uvicorn

    from api.app import create_app
    from api.settings import read_settings

    chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings().model_copy(update=chosen)
    logging.basicConfig(format="%(levelname)s: %(name)s: %(message)s")
    logging.getLogger("sightline").setLevel(log_level.upper())
    # It complains about every broken form; whoever sent it is told.
    logging.getLogger("python_multipart").setLevel("ERROR")
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level=log_level,
        access_log=log_level in ("info", "debug"),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    listener = listen(settings.host, settings.port)
    address = f"[{settings.host}]" if ":" in settings.host else settings.host
    click.echo(f"Sightline is at http://{address}:{listener.getsockname()[1]}; Ctrl-C ends it.")
    if demo:
        begin_demo(app.state.service.sightline)
    server = uvicorn.Server(config)
    service = app.state.service
    service.is_in_a_hurry = lambda: server.force_exit  # a second Ctrl-C
    try:
        server.run(sockets=[listener])
    finally:
        if service.is_at_work():
            # The end of the interpreter would wait for what the threads do: a step of a job may take minutes.
            service.worker.give_up()
            os._exit(GIVEN_UP)


def listen(host: str, port: int) -> socket.socket:
    """Take the address, or say that it cannot be had; uvicorn would end the process with a number."""
    from api.errors import UsageError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        sentence = f"{host}, port {port}, cannot be listened on: {error.strerror}; another port: --port N, 0 a free one"
        raise UsageError("port", sentence) from error


def begin_demo(sightline: Hosted) -> None:
    """Let the demo's gallery be made on a home where nothing was ever done; a database may also come up later."""
    from api.errors import DOMAIN

    with suppress(*DOMAIN, OSError):
        if sightline.enqueue_demo() is not None:
            click.echo("There is no gallery yet: making the gallery demo of drawn postcards; --no-demo leaves it out.")
