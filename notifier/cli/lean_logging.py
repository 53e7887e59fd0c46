"""Loads structlog without rich: importing it draws rich in where that is installed, 6 MiB for tracebacks in colour.

To be imported before anything else that logs.
"""

from __future__ import annotations

import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import then fails, as if it were not installed
    import structlog  # noqa: F401

    del sys.modules["rich"]
