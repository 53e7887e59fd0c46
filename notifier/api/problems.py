"""What went wrong, as an answer: JSON with the field and the cure, and never what was sent (it may be a password)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import structlog
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from notifier.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DataRejected,
    InvalidInput,
    NotFound,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastapi import FastAPI, Request

log = structlog.get_logger(__name__)

# The domain's names of fields that requests call otherwise.
_NAMES = {"customer_id": "customer", "user_id": "user"}
_NOT_FOUND = "nothing with this id belongs to your customers"
_UNREADABLE = "the body cannot be read; send JSON with Content-Type: application/json"


class Refusal(Exception):
    """A request is answered with this status and sentence instead."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def too_many(seconds: float, detail: str) -> Refusal:
    """Return the refusal of somebody who asks too often."""
    return Refusal(429, detail, {"Retry-After": str(max(1, math.ceil(seconds)))})


def install(app: FastAPI) -> None:
    """Answer every kind of fault."""
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(InvalidInput, _invalid_input)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(DataRejected, _data_rejected)
    app.add_exception_handler(DatabaseUnavailable, _database_unavailable)
    app.add_exception_handler(ConfigurationError, _configuration)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(status: int, content: object, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(jsonable_encoder(content), status_code=status, headers=headers)


def _detail(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return _answer(status, {"detail": text}, headers)


def _refusal(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)  # noqa: S101 - the framework's typing
    return _detail(error.status, error.detail, error.headers)


def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    return _answer(400, field_problems(error.errors()))


def field_problems(errors: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Return pydantic's errors as sentences by field; a body that is no JSON object as `detail`."""
    problems: dict[str, object] = {}
    for error in errors:
        place = [part for part in error["loc"] if part not in {"body", "query", "path", "header"}]
        if error["type"] == "too_long" and not place:
            return {
                "detail": f"the list is too long; send at most {error['ctx']['max_length']} lines at once"
            }
        if not place or error["type"] == "json_invalid":
            return {"detail": _UNREADABLE}
        name = f"line {place[0] + 1}" if isinstance(place[0], int) else str(place[0])
        texts = problems.setdefault(name, [])
        assert isinstance(texts, list)  # noqa: S101 - set in the line above
        texts.append(_sentence(error, place[1:]))
    return problems


def _sentence(error: Mapping[str, Any], inner: Sequence[object]) -> str:
    words = {"missing": "is missing", "extra_forbidden": "there is no such field; check its spelling"}
    text = words.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    return f"entry {inner[0] + 1}: {text}" if inner and isinstance(inner[0], int) else text


def _invalid_input(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidInput)  # noqa: S101 - as above
    return _answer(400, error.renamed(_NAMES).problems)


def _not_found(_request: Request, _error: Exception) -> JSONResponse:
    # The same words whether it does not exist or is somebody else's.
    return _detail(404, _NOT_FOUND)


def _data_rejected(_request: Request, error: Exception) -> JSONResponse:
    log.warning("api_data_rejected", error=str(error))
    return _detail(
        409, "this conflicts with what is stored; somebody may have changed it: look and try again"
    )


def _database_unavailable(_request: Request, error: Exception) -> JSONResponse:
    log.error("api_database_unavailable", error=str(error))
    return _detail(503, "the database cannot do this now; try again in a moment", {"Retry-After": "5"})


def _configuration(_request: Request, error: Exception) -> JSONResponse:
    log.error("api_configuration", error=str(error))
    return _detail(503, f"the installation must be changed first: {error}", {"Retry-After": "300"})


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    match error.status_code:
        case 404:
            slash = "" if request.url.path.endswith("/") else "; the paths of this API end in a slash"
            return _detail(404, f"there is no page {request.url.path}{slash}")
        case 405:
            allowed = ", ".join(_methods(request))
            return _detail(405, f"this path knows {allowed}, not {request.method}", {"Allow": allowed})
        case 400:
            return _detail(400, _UNREADABLE)
    return _detail(error.status_code, str(error.detail), error.headers)


def _methods(request: Request) -> list[str]:
    """Return every method of a path, over all its routes: the framework names those of the first one only."""
    found: set[str] = set()
    for path, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)), request.url.path):
            found |= {method.upper() for method in operations}
    found = found or {"GET"}  # a page that is not in the document
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return _detail(500, "something went wrong here; it is in the log of the API")
