"""Who may ask: no other web site through a visitor's browser, which reaches a local service as well as the visitor."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from api.settings import is_loopback

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class SameSite:
    """Answers 403 to what a browser sends on behalf of another web site.

    A request that changes something must come from the service's own page, or from no page at all: browsers say so in
    Sec-Fetch-Site, older ones in Origin. Where the service listens on this machine only, `Host` must be a name that
    nobody else can point here: a site of its own name that resolves to 127.0.0.1 would be of the same origin, and
    could even read the answers. Proxies in front of a local service are named in `hosts`.
    """

    def __init__(self, app: ASGIApp, *, is_local: bool, hosts: Collection[str] = ()) -> None:
        self._app, self._is_local, self._hosts = app, is_local, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if nobody else's page sent it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problem(403, refusal, headers={"Connection": "close"})(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._is_local and not self._is_own(host):
            return (
                f"this service listens on this machine only and is not known as {host!r}; ask for localhost, "
                "or let its keeper name the host in SIGHTLINE_HOSTS"
            )
        if scope["method"] not in SAFE and _is_foreign(headers, host):
            return "another web site sent this request; only the service's own page may change something"
        return None

    def _is_own(self, host: str) -> bool:
        """Whether a Host header is one that no name server of somebody else gives: an address, or a bare name."""
        name = _without_port(host).lower().rstrip(".")
        return "." not in name or is_loopback(name) or _is_address(name) or name in self._hosts


def _is_foreign(headers: Headers, host: str) -> bool:
    """Whether a browser says that another site's page sent a request."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin is not None and _host_of(origin) != host.lower()


def _host_of(origin: str) -> str | None:
    """Give host and port of an Origin header; None for one that no browser sends."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _without_port(host: str) -> str:
    """Give the name in a Host header; an IPv6 address loses its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
