"""Keeps a worker's memory small, once everything is made and before its threads start."""

from __future__ import annotations

import ctypes
import gc

_GARBAGE = (2000, 10, 10)  # objects, and rounds of the younger generations, before the collector goes round
_M_ARENA_MAX = -8  # glibc's malloc.h


def settle() -> None:
    """Take what was made at the start out of the garbage collector's rounds, and have all threads share free memory.

    What a mail needs is freed without the collector, by counting references; each full round looks at every object.
    """
    _share_free_memory()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def _share_free_memory() -> None:
    """Have glibc keep one heap for all threads, not one for each: they run in turn, and what one frees serves the next.

    Another C library has no such call, or makes nothing of it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
