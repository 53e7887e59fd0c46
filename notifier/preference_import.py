"""Many preferences at once, all of them or none: for the command line and for the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.domain.errors import InvalidInput, InvalidLines
from notifier.domain.preferences import from_fields
from notifier.store import preferences

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from notifier.domain.preferences import PreferenceRequest, Writer
    from notifier.domain.recipients import Rules


def save_all(
    connection: Connection,
    lines: Mapping[int, Mapping[str, object]],
    *,
    rules: Rules,
    unreadable: Mapping[int, str] | None = None,
    writer: Writer | None = None,
    read: Callable[[Mapping[str, object]], PreferenceRequest] = from_fields,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the preferences of these lines; returns how many. `progress` gets the number written so far.

    `read` makes a request of one line; `unreadable` says of lines that are not among `lines` what is wrong with them:
    they are told with the faults of the others. `writer` is None for the operator, who has no limits. Call it inside a
    transaction. Raises InvalidLines with every fault of every line.
    """
    requests: dict[int, PreferenceRequest] = {}
    problems: dict[int, Mapping[str, Sequence[str]]] = {
        line: {"": [text]} for line, text in (unreadable or {}).items()
    }
    for line, fields in lines.items():
        try:
            requests[line] = read(fields)
        except InvalidInput as exc:
            problems[line] = exc.problems
    try:
        saved = preferences.save_many(connection, requests, rules=rules, writer=writer, progress=progress)
    except InvalidLines as exc:
        problems |= exc.lines
    else:
        if not problems:
            return saved
    raise InvalidLines(problems)
