"""The page: plain files of api/web, served with headers that let it load nothing from anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

router = APIRouter(include_in_schema=False)

WEB = Path(__file__).parent.parent / "web"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Not from the machine's own table, which may call a module text/plain, and then no browser runs it."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # A browser asks each time and hears 304: files of two versions never meet.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    content: bytes
    media_type: str

    @cached_property
    def headers(self) -> dict[str, str]:
        """What a browser is told besides the media type."""
        return HEADERS | {"ETag": f'"{sha256(self.content).hexdigest()}"'}


@router.get("/")
async def page(request: Request) -> Response:
    """Give the page."""
    return _answer(request, "index.html")


@router.get("/assets/{name:path}")
async def asset(request: Request, name: str) -> Response:
    """Give a file of the page."""
    return _answer(request, name)


@cache
def assets() -> dict[str, Asset]:
    """Read all files of the page. What is not among these names is not served, so no name can lead elsewhere."""
    files = (path for path in sorted(WEB.rglob("*")) if path.suffix in MEDIA_TYPES)
    return {path.relative_to(WEB).as_posix(): Asset(path.read_bytes(), MEDIA_TYPES[path.suffix]) for path in files}


def _answer(request: Request, name: str) -> Response:
    found = assets().get(name)
    if found is None:
        raise HTTPException(404)
    headers = found.headers
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
