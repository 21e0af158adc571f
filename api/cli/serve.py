"""`sightline serve`: the HTTP service."""

from __future__ import annotations

import click


@click.command("serve")
@click.option("--host", help="The address to listen on; 127.0.0.1 unless set.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 8000 unless set.")
def command(host: str | None, port: int | None) -> None:
    """Serve all galleries over HTTP; the interface is described at /docs."""
    import uvicorn

    from api.app import create_app
    from api.settings import Settings

    settings = Settings()
    uvicorn.run(create_app(settings), host=host or settings.host, port=settings.port if port is None else port)
