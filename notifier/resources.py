"""The project's own data files: SQL and templates, from the wheel or from the checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Return the path of a shipped file or folder (`schema.sql`, `roles.sql`, `migrations`, `templates`).

    Raises FileNotFoundError naming the file when the installation is incomplete.
    """
    for base in (_PACKAGE / "_data", _PACKAGE.parent):
        candidate = base / name
        if candidate.exists():
            return candidate
    msg = f"{name} is missing from this installation of notifier; install it again"
    raise FileNotFoundError(msg)
