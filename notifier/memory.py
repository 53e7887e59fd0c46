"""Keeps a worker's memory small, once everything is made and before its threads start."""

from __future__ import annotations

import gc

_GARBAGE = (2000, 10, 10)  # objects, and rounds of the younger generations, before the collector goes round


def settle() -> None:
    """Take what was made at the start out of the garbage collector's rounds.

    What a mail needs is freed without the collector, by counting references; each full round looks at every object.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
