"""Writes a generated page: what the modules that `make docs` runs for one page do when called as a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def write(arguments: list[str], text: Callable[[Path], str], *, usage: str) -> int:
    """Write to the one path in the arguments what `text` makes for it. Returns the exit code."""
    match arguments:
        case [name]:
            path = Path(name)
            path.write_text(text(path), "utf-8")
            sys.stdout.write(f"{path}\n")
            return 0
        case _:
            sys.stderr.write(f"usage: {usage}\n")
            return 2
