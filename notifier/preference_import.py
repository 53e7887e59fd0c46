"""Many preferences at once, all of them or none: for the command line and for the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.domain.errors import InvalidInput
from notifier.domain.preferences import from_fields
from notifier.store import preferences

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Connection

    from notifier.domain.preferences import PreferenceRequest, Writer
    from notifier.domain.recipients import Rules


def save_all(
    connection: Connection,
    lines: Mapping[int, Mapping[str, object]],
    *,
    rules: Rules,
    writer: Writer | None = None,
    read: Callable[[Mapping[str, object]], PreferenceRequest] = from_fields,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the preferences of these lines; returns how many. `progress` gets the number written so far.

    `read` makes a request of one line; `writer` is None for the operator, who has no limits. Call it inside a
    transaction. Raises InvalidInput naming every fault of every line (`line N`).
    """
    requests: dict[int, PreferenceRequest] = {}
    problems: dict[str, tuple[str, ...]] = {}
    for line, fields in lines.items():
        try:
            requests[line] = read(fields)
        except InvalidInput as exc:
            faults = (f"{field}: {text}" for field, texts in exc.problems.items() for text in texts)
            problems[f"line {line}"] = tuple(faults)
    try:
        saved = preferences.save_many(connection, requests, rules=rules, writer=writer, progress=progress)
    except InvalidInput as exc:
        problems |= exc.problems
    else:
        if not problems:
            return saved
    raise InvalidInput(dict(sorted(problems.items(), key=lambda item: int(item[0].removeprefix("line ")))))
