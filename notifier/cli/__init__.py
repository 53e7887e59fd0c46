"""The command line, one module per command group, loaded when it is asked for; the only composition root."""

from __future__ import annotations

from notifier.cli.program import main

__all__ = ["main"]
