"""What pydantic found, said in plain sentences with the cure; secret values are never repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.config.layers import unknown
from notifier.config.model import Settings
from notifier.config.section import ContradictionError
from notifier.domain.vocabulary import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

    Path = tuple[str | int, ...]

MAX_SHOWN = 60  # characters of a wrong value
DEPTH_OF_KEY = 2

_SENTENCES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "path_type": "must be a text in quotes",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a table with a list for each role",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have at least {min_length} entry",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must be one word without spaces",
    "literal_error": "must be {expected}",
}


def sentences(errors: list[ErrorDetails]) -> Iterator[tuple[Path, str]]:
    """Yield (path, what is wrong and the cure) for each of pydantic's `errors`."""
    for error in errors:
        path = error["loc"]
        context = error.get("ctx", {})
        cause = context.get("error")
        if isinstance(cause, ContradictionError):
            for key, text in cause.found:
                yield (*path, *key.split(".")), text
        elif error["type"] == "extra_forbidden":
            yield path, unknown(str(path[-1]), _siblings(path), "key")
        elif path[-1] == "[key]":
            yield path[:-1], f"unknown role; there are {', '.join(ROLES)}"
        elif isinstance(cause, ValueError):
            yield path, str(cause)
        else:
            yield path, _sentence(error, context) + _shown(path, error["input"])


def _sentence(error: ErrorDetails, context: Mapping[str, object]) -> str:
    pattern = _SENTENCES.get(error["type"])
    return error["msg"] if pattern is None else pattern.format_map(context)


def _shown(path: Path, value: object) -> str:
    if is_secret(path):
        return ""
    text = repr(value)
    return f", not {text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'}"


def _siblings(path: Path) -> dict[str, object]:
    section = Settings.model_fields.get(str(path[0]))
    factory = section.default_factory if section else None
    return dict(getattr(factory, "model_fields", Settings.model_fields))


def is_secret(path: Path) -> bool:
    """Say whether the key at `path` holds a secret: its field's type is SecretStr, or a list of it."""
    if len(path) < DEPTH_OF_KEY:
        return False
    field = _siblings(path).get(str(path[1]))
    return "SecretStr" in repr(getattr(field, "annotation", None))
