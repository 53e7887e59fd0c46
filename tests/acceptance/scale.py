"""How big a fault is played: small enough for every run of the suite, or as the promise says (`make faults-long`)."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

T = TypeVar("T")

FULL = os.environ.get("NOTIFIER_FAULTS") == "full"
scaled = pytest.mark.scaled


def size(suite: T, full: T) -> T:
    """Return how much of something the test takes now."""
    return full if FULL else suite
