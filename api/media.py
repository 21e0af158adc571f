"""What a picture file is to a browser, told from its first bytes and never from its name."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

HEAD_BYTES = 16
UNKNOWN = "application/octet-stream"

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}
"""How the OpenAPI document describes a picture."""

_STARTS = (
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"\x89PNG\r\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"....ftypavi[fs]", "image/avif"),
    (rb"....ftyp(he[iv][cmsx]|mif1|msf1)", "image/heic"),
    (rb"II[*+]\0|MM\0[*+]", "image/tiff"),
    (rb"BM", "image/bmp"),
    (rb"\0\0\0\x0cjP  \r\n", "image/jp2"),
)


def media_type(head: bytes) -> str:
    """Name the media type of a picture; what is none of the raster formats above is just bytes."""
    return next((name for start, name in _STARTS if re.match(start, head, re.DOTALL)), UNKNOWN)


def picture_headers(content_hash: str | None) -> dict[str, str]:
    """Let a browser ask again each time, which costs little, never guess what a file is, and run nothing in it.

    Not `immutable`: a database that is made anew gives the same ids to other pictures.
    """
    return {
        "ETag": f'"{content_hash}"',
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def disposition(name: str) -> str:
    """Let a browser show a file, and save it under its own name: plain ASCII whatever the name holds."""
    return f"inline; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
