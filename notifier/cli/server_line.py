"""The mail server of a customer in one line: through which one its mails go now, or why none can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.cli.output import cell

if TYPE_CHECKING:
    from notifier.explanation import ServerState


def server_line(server: ServerState) -> str:
    """Return the line."""
    which = "its own mail server" if server.own else "the mail server of the [smtp] section"
    if server.problem:
        return f"no mail can be sent: {server.problem}"
    if server.held_until:
        return (
            f"through {which}, {server.name}, which is not tried until {cell(server.held_until)}:"
            f" {server.held_because or 'it failed'}"
        )
    return f"through {which}, {server.name}, which is switched on and held up by nothing"
