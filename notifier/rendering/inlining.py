"""Inlining the CSS of many pages in a process of its own, so that premailer's memory (16 MiB) is given back.

`python -m notifier.rendering.inlining` reads a JSON list of HTML templates on standard input and writes the list of
inlined ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from notifier.rendering import compose
from notifier.rendering.workshop_process import bare_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 60.0


def inlined_elsewhere(joined: Sequence[compose.Pages]) -> list[compose.Pages]:
    """Return the pages inlined by another process, or here where that cannot be.

    Raises ConfigurationError as `compose.inline`.
    """
    command = [sys.executable, "-m", "notifier.rendering.inlining"]
    sources = json.dumps([pages.html for pages in joined]).encode()
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            command, env=bare_environment(), input=sources, capture_output=True, check=True, timeout=_SECONDS
        )
        inlined = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        # No process may be started here, or a template is broken, which inlining here says in words.
        return compose.all_inlined(joined)
    return [compose.Pages(html=html, text=pages.text) for html, pages in zip(inlined, joined, strict=True)]


def main() -> None:
    """Inline what standard input holds."""
    json.dump([compose.inline(source) for source in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
