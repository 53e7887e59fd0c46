"""Rows as psql prints them, without the line that counts them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as PgCursor  # noqa: N812 - a class in lower case

_NUMBERS = frozenset({20, 21, 23, 700, 701, 1700})  # type oids that psql aligns to the right


def printed(cursor: PgCursor) -> str:
    """The result of the last query as aligned text; lines end without spaces."""
    columns = cursor.description or ()
    names = [column.name for column in columns]
    right = [column.type_code in _NUMBERS for column in columns]
    rows = [[_text(value) for value in row] for row in cursor.fetchall()]
    widths = [max(len(row[at]) for row in [names, *rows]) for at in range(len(names))]
    lines = [
        "|".join(
            f" {(' ' * ((width - len(name)) // 2) + name).ljust(width)} "
            for name, width in zip(names, widths, strict=True)
        ),
        "+".join("-" * (width + 2) for width in widths),
        *(
            "|".join(
                f" {text.rjust(width) if to_right else text.ljust(width)} "
                for text, width, to_right in zip(row, widths, right, strict=True)
            )
            for row in rows
        ),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "t" if value else "f"
        case list():
            return "{" + ",".join(map(str, value)) + "}"
        case dict():
            return json.dumps(value)
        case _:
            return str(value)
