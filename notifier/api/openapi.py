"""The OpenAPI document: `python -m notifier.api.openapi docs/schema/openapi.json` writes the committed one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from notifier import generated_page

if TYPE_CHECKING:
    from fastapi import FastAPI

VERSION = "1.0.0"  # of the API, not of this program
_TEXT = """\
SMTP configurations, notification preferences and the event log of job mails. A token has the rights of its user and
sees the customers that user has access to; anything of another customer is answered 404. Paths end in a slash.
"""


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document. Faulty requests are answered 400, not the 422 that the framework writes down."""
    made = get_openapi(title="notifier", version=VERSION, description=_TEXT, routes=app.routes)
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
    return made


def main(arguments: list[str]) -> int:
    """Write the document to the one file given. Returns the exit code."""
    from notifier.api.application import endpoints  # noqa: PLC0415 - it imports this module

    usage = "python -m notifier.api.openapi FILE"
    return generated_page.write(arguments, lambda _: text(endpoints()), usage=usage)


def text(app: FastAPI) -> str:
    """Return the document as it is committed."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
