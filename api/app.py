"""The application: routes, error handlers, lifespan; no logic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI

from api import problems
from api.deps import Service, only_known_parameters
from api.guards import SameSite
from api.limits import BodyLimit, HeadAsGet
from api.routes import docs, embed, evaluations, galleries, health, items, jobs, lookup, models, page, pictures, search
from api.settings import Settings

ABOUT = "Pictures found by what they show: ITC finds candidates, ITM reranks them. Errors are problems (RFC 9457)."


def create_app(settings: Settings) -> FastAPI:
    """Make the HTTP service of a library."""
    app = Application(
        title="Sightline",
        version=version("sightline"),
        description=ABOUT,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
        # Both pages of FastAPI load scripts from elsewhere; ours, in routes/docs.py, loads nothing.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(only_known_parameters)],
    )
    app.state.service = Service(settings)
    app.add_middleware(BodyLimit, limit=settings.upload_bytes)
    app.add_middleware(HeadAsGet)
    app.add_middleware(SameSite, is_local=settings.is_local, hosts=settings.hosts)
    problems.add_handlers(app)
    for noun in (galleries, evaluations, search, lookup, embed, items, pictures, jobs, models, health, docs, page):
        app.include_router(noun.router)
    return app


class Application(FastAPI):
    """FastAPI whose document names the media type of problems."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        if self.openapi_schema is None:
            problems.name_media_type(super().openapi())
        return super().openapi()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.open()
    yield
    await service.close()
