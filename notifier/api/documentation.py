"""`/docs`: the OpenAPI document as one page, made here; nothing is loaded from anywhere."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from notifier.api.html_pages import page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi.responses import HTMLResponse


def documentation(document: dict[str, Any]) -> HTMLResponse:
    """Return the page of a document."""
    return page("notifier API", "".join(_parts(document)))


def _parts(document: dict[str, Any]) -> Iterator[str]:
    yield f"<p>{escape(document['info']['description'])}</p>"
    yield '<p>Send <code>Authorization: Bearer TOKEN</code>. For programs: <a href="/openapi.json">openapi.json</a></p>'
    group = None
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", [""])[0]
            if tag != group:
                group = tag
                yield f"<h2>{escape(tag)}</h2>"
            yield _operation(f"{method.upper()} {path}", operation)
    yield "<h2>Shapes</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
        yield f"<pre>{escape(json.dumps(schema.get('properties', schema), indent=2))}</pre>"


def _operation(title: str, operation: dict[str, Any]) -> str:
    rows = [
        (
            "parameter",
            f"<code>{escape(one['name'])}</code> ({escape(one['in'])})",
            escape(one.get("description", "")),
        )
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {})
    rows += [("body", escape(kind), _shape(content["schema"])) for kind, content in body.items()]
    for status, answer in operation["responses"].items():
        shapes = " ".join(_shape(one.get("schema", {})) for one in answer.get("content", {}).values())
        rows.append(("answer", escape(status), f"{escape(answer['description'])} {shapes}"))
    cells = "".join(f"<tr><td>{kind}</td><td>{name}</td><td>{text}</td></tr>" for kind, name, text in rows)
    words = escape(operation.get("description", ""))
    summary = f"<summary><code>{escape(title)}</code> {escape(operation['summary'])}</summary>"
    return f"<details>{summary}<p>{words}</p><table>{cells}</table></details>"


def _shape(schema: dict[str, Any]) -> str:
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref")
    if reference is None:
        return escape(schema.get("type", ""))
    name = escape(reference.rpartition("/")[2])
    return f'{"list of " if "items" in schema else ""}<a href="#{name}">{name}</a>'
