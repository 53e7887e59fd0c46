"""The configuration: one frozen `Settings`, read from every source and checked whole (docs/configuration.md)."""

from __future__ import annotations

from notifier.config.loader import DEFAULT_PATHS, load
from notifier.config.model import Settings

__all__ = ["DEFAULT_PATHS", "Settings", "load"]
