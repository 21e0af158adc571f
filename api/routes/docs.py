"""The description of the interface: its OpenAPI document as one plain page that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

Part = Mapping[str, Any]

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin-top: 2.5rem; border-bottom: 1px solid; }
code { font: 0.95em ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; }
:root { color-scheme: light dark; }
"""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Describe the interface."""
    return HTMLResponse(page(request.app.openapi()), headers=HEADERS)


def page(document: Part) -> str:
    """Write an OpenAPI document as HTML."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    return "\n".join(
        (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>',
            f"<h1>{title}</h1><p>{escape(info['description'])}",
            '<p>The same for programs: <a href="/openapi.json">openapi.json</a>',
            *_operations(document),
            *_schemas(document),
        )
    )


def _operations(document: Part) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['description'])}"
            yield _table("Parameter", [_parameter(one) for one in operation.get("parameters", [])])
            yield _table("Body", list(_body(operation.get("requestBody", {}))))
            yield _table("Answer", [_answer(*one) for one in operation["responses"].items()])


def _schemas(document: Part) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2><p>{escape(schema.get("description", ""))}'
        fields = schema.get("properties", {}).items()
        yield _table("Field", [(f"<code>{escape(key)}</code>", _kind(one), _meaning(one)) for key, one in fields])


def _parameter(one: Part) -> tuple[str, str, str]:
    needed = "" if one["required"] else ", optional"
    return f"<code>{escape(one['name'])}</code>", f"{_kind(one['schema'])}{needed}", _meaning(one)


def _body(body: Part) -> Iterator[tuple[str, str, str]]:
    for media_type, content in body.get("content", {}).items():
        schema = content["schema"]
        parts = [
            f"<code>{escape(key)}</code>: {_kind(one)}, {_meaning(one)}"
            for key, one in schema.get("properties", {}).items()
        ]
        yield f"<code>{escape(media_type)}</code>", _kind(schema), "<br>".join(parts) or _meaning(schema)


def _answer(status: str, response: Part) -> tuple[str, str, str]:
    contents = response.get("content", {})
    kinds = [f"<code>{escape(name)}</code>: {_kind(one['schema'])}" for name, one in contents.items()]
    return f"<code>{escape(status)}</code>", escape(response["description"]), "<br>".join(kinds)


def _kind(schema: Part) -> str:
    """Say what a value is: a link to its schema, the values it may have, or its type and bounds."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_kind, choices))
    if "const" in schema:
        return escape(repr(schema["const"]))
    if "enum" in schema:
        return escape(", ".join(map(repr, schema["enum"])))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return escape(" ".join([str(schema.get("type", "anything")), *bounds]))


_BOUNDS = {"minimum": "from", "maximum": "to", "maxLength": "of at most", "format": "as"}


def _meaning(one: Part) -> str:
    default = one.get("schema", one).get("default")
    return escape(one.get("description", "")) + ("" if default is None else f" (default {escape(str(default))})")


def _table(head: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<tr><td>{name}<td>{kind}<td>{meaning}" for name, kind, meaning in rows)
    return f"<table><tr><th>{head}<th><th>{cells}</table>"
