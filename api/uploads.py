"""The body of a request that holds pictures: a form, or one picture alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from api.deps import MOST_CHARACTERS
from api.errors import UsageError

MOST_TEXTS = 1000
MOST_FILES = 8
"""Only one is taken; a few more are read to say so."""
MOST_PICTURES = 32
"""Where many are taken: what a small processor reads in a minute."""
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Upload:
    """A picture file as it was sent, and the texts beside it by field, in order."""

    image: bytes
    texts: Mapping[str, list[str]]


@dataclass(frozen=True)
class Uploads:
    """Picture files and texts as they were sent, in order."""

    images: tuple[bytes, ...]
    texts: tuple[str, ...]


async def read_upload(request: Request, *, fields: tuple[str, ...] = ()) -> Upload:
    """Read the picture, and from a form also the texts of some fields; anything else in it is refused."""
    kind = content_type(request)
    if kind == FORM:
        return await _read_form(request, fields)
    if not kind.startswith("image/") and kind != "application/octet-stream":
        sent = f"as {kind!r}" if kind else "without a type"
        raise UsageError("image", f"send the picture as {FORM} or as its own type, image/jpeg say, not {sent}")
    return Upload(_not_empty(await request.body()), {})


def body_schema(**fields: dict[str, Any]) -> dict[str, Any]:
    """Describe such a body in the OpenAPI document; `fields` are the form's texts."""
    file = {"type": "string", "format": "binary", "description": "the picture"}
    form = {"type": "object", "properties": {"image": file, **fields}, "required": ["image"]}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": form}, "image/*": {"schema": file}}}}


async def read_uploads(request: Request) -> Uploads:
    """Read a form of any number of pictures, the files `image`, and of texts, the fields `text`."""
    try:
        async with request.form(max_files=MOST_PICTURES, max_fields=MOST_TEXTS) as form:
            return await _sort_many(form)
    except HTTPException as error:
        raise _unreadable(error) from error


async def read_files(request: Request) -> list[tuple[str, bytes]]:
    """Read a form of files `image`, each with its name, which may have folders before it."""
    if content_type(request) != FORM:
        raise UsageError("image", f"send pictures as {FORM}, files `image`, each with its name")
    try:
        async with request.form(max_files=MOST_PICTURES, max_fields=0) as form:
            return [await _named_file(name, part) for name, part in form.multi_items()]
    except HTTPException as error:
        raise _unreadable(error) from error


def files_schema() -> dict[str, Any]:
    """Describe a form of named files in the OpenAPI document."""
    file = {"type": "string", "format": "binary"}
    description = "picture files; their names may have folders before them, as in beach/1.jpg"
    files = {"type": "array", "items": file, "maxItems": MOST_PICTURES, "description": description}
    form = {"type": "object", "properties": {"image": files}, "required": ["image"]}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": form}}}}


def content_type(request: Request) -> str:
    """Give the type of a body without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_texts(texts: Sequence[str], field: str) -> None:
    """Raise UsageError for a text that is empty or too long."""
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise UsageError(field, f"text {number} is empty; give at least one word")
        if len(text) > MOST_CHARACTERS:
            raise UsageError(field, f"text {number} has {len(text)} characters; at most {MOST_CHARACTERS} are read")


async def _read_form(request: Request, fields: tuple[str, ...]) -> Upload:
    try:
        async with request.form(max_files=MOST_FILES, max_fields=MOST_TEXTS) as form:
            return await _sort_parts(form, fields)
    except HTTPException as error:
        raise _unreadable(error) from error


async def _named_file(name: str, part: UploadFile | str) -> tuple[str, bytes]:
    if isinstance(part, str) or name != "image":
        raise UsageError(name, f"the form has a part {name!r}; it takes files `image` only")
    return part.filename or "", await part.read()


async def _sort_many(form: FormData) -> Uploads:
    images: list[bytes] = []
    texts: list[str] = []
    for name, part in form.multi_items():
        if isinstance(part, UploadFile) and name == "image":
            images.append(await part.read())
            if not images[-1]:
                raise UsageError("image", f"picture {len(images)} is empty; send the bytes of a picture file")
        elif isinstance(part, str) and name == "text":
            texts.append(part)
        else:
            sent = "a text" if isinstance(part, str) else "a file"
            raise UsageError(name, f"the form has {sent} {name!r}; it takes files `image` and texts `text`")
    return Uploads(tuple(images), tuple(texts))


def _unreadable(error: HTTPException) -> Exception:
    """Say that a form is broken; what has another status than 400 says something else already."""
    return UsageError("body", f"the form cannot be read: {error.detail}") if error.status_code == 400 else error


async def _sort_parts(form: FormData, fields: tuple[str, ...]) -> Upload:
    image: bytes | None = None
    texts: dict[str, list[str]] = {field: [] for field in fields}
    for name, part in form.multi_items():
        if isinstance(part, UploadFile):
            if image is not None:
                raise UsageError(name, "the form holds several files; send one picture, as the file `image`")
            image = await part.read()
        elif name in texts:
            texts[name].append(part)
        else:
            taken = ", ".join(("image", *fields))
            raise UsageError(name, f"the form has a part {name!r} without a file; it takes {taken}")
    if image is None:
        raise UsageError("image", "the form holds no picture; send it as the file `image`")
    return Upload(_not_empty(image), texts)


def _not_empty(image: bytes) -> bytes:
    if not image:
        raise UsageError("image", "the picture is empty; send the bytes of a picture file")
    return image
