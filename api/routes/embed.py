"""Features: pictures and texts become vectors for another program."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from api.deps import MOST_CHARACTERS, MOST_NAME, service_of
from api.doors.exports import Format
from api.errors import UsageError
from api.files import OpenFile
from api.problems import documented
from api.schemas import FeaturesOut
from api.uploads import FORM, MOST_PICTURES, MOST_TEXTS, Uploads, check_texts, content_type, read_uploads
from retrieval.features import Kind

router = APIRouter(tags=["search"])

JSON = "application/json"
MEDIA: Mapping[str, Format] = {JSON: "json", "application/x-npy": "npy", "application/vnd.apache.parquet": "parquet"}

Model = Annotated[
    str | None,
    Query(
        max_length=MOST_NAME,
        description="a name of `sightline models` whose weights are here, or a gallery's model; unset, the usual one",
        examples=["postcards"],
    ),
]
KindWanted = Annotated[
    Kind | None,
    Query(description="of pictures alone, of texts alone, or of picture i with text i; unset, what is sent"),
]
Projected = Annotated[
    bool | None,
    Query(description="false gives the states before the projection; pictures with texts have no other"),
]
EveryToken = Annotated[bool, Query(description="true gives the vectors of all tokens and not those that are compared")]


class EmbedIn(BaseModel):
    """Texts to embed, with or without the parameters of the address, which count less."""

    model_config = ConfigDict(extra="forbid")

    texts: list[Annotated[str, Field(max_length=MOST_CHARACTERS)]] = Field(min_length=1, max_length=MOST_TEXTS)
    model: str | None = Field(None, max_length=MOST_NAME)
    kind: Kind | None = None
    projected: bool | None = None
    every_token: bool | None = None


_PARTS = {
    "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": MOST_PICTURES},
    "text": {"type": "array", "items": {"type": "string", "maxLength": MOST_CHARACTERS}, "maxItems": MOST_TEXTS},
}
BODY = {
    FORM: {"schema": {"type": "object", "properties": _PARTS}},
    JSON: {"schema": EmbedIn.model_json_schema()},
}
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": FeaturesOut,
        "description": "JSON, or the binary form that Accept names",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA if kind != JSON},
    }
}


@router.post(
    "/v1/embed",
    response_class=Response,
    responses=ANSWER | documented(406, 409, 413, 422, 429, 503),
    openapi_extra={"requestBody": {"required": True, "content": BODY}},
)
async def embed(
    request: Request,
    model: Model = None,
    kind: KindWanted = None,
    projected: Projected = None,
    every_token: EveryToken = False,
) -> Response:
    """Give the features of pictures, of texts, or of both together, as JSON, npy or Parquet."""
    service = service_of(request)
    media = _media_wanted(request.headers.get("accept", ""))
    service.reranks.check()
    asked = {"model": model, "kind": kind, "projected": projected, "every_token": every_token}
    sent, stated = await _read_body(request)
    job = partial(service.sightline.embed_sent, sent.images, sent.texts, form=MEDIA[media], **{**asked, **stated})
    file = TemporaryFile()  # noqa: SIM115 (the response closes it)
    try:
        await service.rerank(request, partial(job, into=file))
        return _response(file, media)
    except BaseException:
        file.close()
        raise


async def _read_body(request: Request) -> tuple[Uploads, dict[str, Any]]:
    """Read what is to be embedded, and the parameters that a JSON body states beside it."""
    match content_type(request):
        case "multipart/form-data":
            uploads = await read_uploads(request)
            check_texts(uploads.texts, "text")
            return uploads, {}
        case "application/json":
            body = _parsed(await request.body())
            check_texts(body.texts, "texts")
            return Uploads((), tuple(body.texts)), body.model_dump(exclude={"texts"}, exclude_none=True)
        case kind:
            sent = f"as {kind!r}" if kind else "without a type"
            raise UsageError("body", f"send pictures and texts as {FORM}, or texts as {JSON}, not {sent}")


def _parsed(body: bytes) -> EmbedIn:
    try:
        return EmbedIn.model_validate_json(body)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error


def _media_wanted(accept: str) -> str:
    """Choose the form of the answer by the header Accept; JSON where anything will do."""
    ranges = [_weighed(one) for one in accept.split(",") if one.strip()] or [(1.0, "*/*")]
    for weight, wanted in sorted(ranges, key=lambda one: -one[0]):
        if weight > 0 and wanted in MEDIA:
            return wanted
        if weight > 0 and wanted in ("*/*", "application/*"):
            return JSON
    raise HTTPException(406, f"features are given as {', '.join(MEDIA)}; Accept names none of them")


def _weighed(media_range: str) -> tuple[float, str]:
    """Take a range of Accept apart: how much it is wanted, and what; a weight that is none counts as one."""
    kind, *parameters = (part.strip().lower() for part in media_range.split(";"))
    weights = [one.removeprefix("q=") for one in parameters if one.startswith("q=")]
    is_number = (
        bool(weights) and weights[0].replace(".", "", 1).isascii() and weights[0].replace(".", "", 1).isdecimal()
    )
    return float(weights[0]) if is_number else 1.0, kind


def _response(file: BinaryIO, media: str) -> Response:
    size = file.seek(0, 2)
    file.seek(0)
    return OpenFile(file, {"Content-Length": str(size)}, media)
