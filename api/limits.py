"""What holds for every request: the largest body, counted or refused unread, and HEAD beside GET."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem


class BodyTooLarge(HTTPException):
    """A body without a stated length has grown over the limit."""

    def __init__(self, field: str, limit: int) -> None:
        self.field = field
        # The rest of the body is not read, so the connection cannot serve another request.
        super().__init__(413, _sentence(limit), headers={"Connection": "close"})


class BodyLimit:
    """Answers 413 to requests whose body is larger than `limit` bytes."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its body is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        field = "body" if headers.get("content-type", "").startswith("application/json") else "image"
        stated = headers.get("content-length", "")
        if not stated.isdecimal():
            await self._app(scope, self._counted(receive, field), send)
        elif int(stated) <= self._limit:
            await self._app(scope, receive, send)
        else:
            refusal = problem(413, _sentence(self._limit), field, headers={"Connection": "close"})
            await refusal(scope, receive, send)

    def _counted(self, receive: Receive, field: str) -> Receive:
        size = 0

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise BodyTooLarge(field, self._limit)
            return message

        return counting


def _sentence(limit: int) -> str:
    return f"the body is too large; at most {limit / (1 << 20):.3g} MB are taken"


class HeadAsGet:
    """Answers HEAD wherever GET is answered (RFC 9110, 9.3.2); the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route HEAD as GET; the server keeps its own scope and knows that no body is wanted."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
