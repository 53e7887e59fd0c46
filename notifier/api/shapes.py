"""How requests and answers look, in general: strict bodies, ids, pages, problems."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, TypeVar

from fastapi import Path, Query, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, RootModel, model_validator

from notifier.api.problems import Refusal
from notifier.domain.smtp_settings import MAX_PEM
from notifier.domain.vocabulary import MAX_ID
from notifier.store.pages import Page, Slice

MAX_PAGE_SIZE = 500
MAX_PAGE = 1_000_000_000
MAX_TEXT = 1000  # characters of one field; what is allowed is decided by the field's own rule

T = TypeVar("T")


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains the character U+0000, which cannot be stored")
    return text


def _digits(text: object) -> object:
    """Refuse the other spellings of a number in a path or query that would pass: 1.0, +1, 01, 1_0."""
    if isinstance(text, str) and not (
        text.isascii() and text.isdigit() and text == (text.lstrip("0") or "0")
    ):
        raise ValueError("must be a whole number in digits, such as 12")
    return text


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Digits = BeforeValidator(_digits)
IdInPath = Annotated[int, Path(alias="id", ge=1, le=MAX_ID), Digits]
IdFilter = Annotated[int | None, Query(ge=1, le=MAX_ID), Digits]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_storable)]
Pem = Annotated[str, Field(max_length=MAX_PEM), AfterValidator(_storable)]


class Body(BaseModel):
    """What is sent. A misspelt field is an error; what an answer has beside may be sent back and is not read."""

    model_config = ConfigDict(strict=True, extra="forbid")
    read_only: ClassVar[frozenset[str]] = frozenset({"id", "created_at", "updated_at"})

    @model_validator(mode="before")
    @classmethod
    def _without_read_only(cls, value: Any) -> Any:  # noqa: ANN401 - not checked yet
        if not isinstance(value, dict):
            return value
        return {name: entry for name, entry in value.items() if name not in cls.read_only}


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class PatchBody(Body):
    """Part of something: what is left out stays, so the document names no defaults."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


class Detail(Answer):
    """Why a request was refused, and what to do."""

    detail: str


class Problems(RootModel[dict[str, str | list[str]]]):
    """Sentences by field, or `detail` with one about the whole request."""


class PageOf(Answer, Generic[T]):
    """One page of a list: the number of all, the addresses of the pages beside, and the items."""

    count: int
    next: str | None
    previous: str | None
    results: list[T]


class Paging:
    """The query parameters `page` and `page_size`, as a dependency."""

    def __init__(
        self,
        request: Request,
        page: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Counted from 1."), Digits] = 1,
        page_size: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="Items of a page."), Digits] = 50,
    ) -> None:
        self._request = request
        self._page = page
        self.part = Slice(limit=page_size, offset=(page - 1) * page_size)

    def fields(self, found: Page[Any]) -> dict[str, Any]:
        """Return count, next and previous of an answer. Raises Refusal 404 behind the last page."""
        if self._page > 1 and not found.items:
            last = max(1, -(-found.total // self.part.limit))
            raise Refusal(404, f"there is no page {self._page}; the last one is {last}")
        more = self.part.offset + len(found.items) < found.total
        return {
            "count": found.total,
            "next": self._address(self._page + 1) if more else None,
            "previous": self._address(self._page - 1) if self._page > 1 else None,
        }

    def _address(self, page: int) -> str:
        return str(self._request.url.include_query_params(page=page))


def _described(status: int, text: str) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problems if status == 400 else Detail, "description": text}}  # noqa: PLR2004 - HTTP


# What any request with a token may be answered with, beside its own.
COMMON: dict[int | str, dict[str, Any]] = {
    **_described(400, "A field is wrong: sentences by field."),
    **_described(401, "No valid token."),
    **_described(429, "Too many requests; see Retry-After."),
    **_described(503, "The database or the installation cannot do it now."),
}
NOT_FOUND = _described(404, "It does not exist, or belongs to a customer the user has no access to.")
NO_PAGE = _described(404, "There are fewer pages.")
FORBIDDEN = _described(403, "The user's role may not do this.")
CONFLICT = _described(409, "It does not fit what is stored.")
TOO_LARGE = _described(413, "The body is larger than api.max_request_bytes.")
WRITE = {**CONFLICT, **TOO_LARGE}
