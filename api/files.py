"""A response whose body is a file."""

from __future__ import annotations

from functools import partial
from typing import BinaryIO

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

CHUNK = 256 << 10


class OpenFile(StreamingResponse):
    """A file that is open already, read in threads and closed at the end."""

    def __init__(self, file: BinaryIO, headers: dict[str, str], kind: str) -> None:
        super().__init__(iter(partial(file.read, CHUNK), b""), headers=headers, media_type=kind)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()
