"""Prometheus' own judge of metrics, rules and queries: the installed one, else Debian's, fetched once."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from notifier.sandbox import debian_packages

if TYPE_CHECKING:
    from pathlib import Path


@cache
def _command() -> tuple[str, ...]:
    # It needs the C library and nothing else.
    return tuple(debian_packages.program("promtool", "prometheus", dependencies=None, say=_say))


def _say(line: str) -> None:
    sys.__stderr__.write(f"\n{line}\n") if sys.__stderr__ else None


def problems(*arguments: str, folder: Path | None = None, text: str = "") -> str:
    """Run promtool on `text` as its input; return what it complains of, "" when it is content."""
    done = subprocess.run(
        [*_command(), *arguments],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    complaint = done.stderr.strip()
    if done.returncode != 0:
        return complaint or done.stdout or f"promtool ended with {done.returncode}"
    return complaint
