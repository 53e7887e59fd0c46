"""Keeps a worker's memory small, once everything is made and before its threads start."""

from __future__ import annotations

import ctypes
import gc

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's mallopt
_GARBAGE = (2000, 10, 10)  # objects, and rounds of the younger generations, before the collector goes round


def settle() -> None:
    """Take what was made at the start out of the garbage collector's rounds, and give back what the start alone needed.

    What a mail needs is freed without the collector, by counting references; each full round looks at every object.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    _share_one_heap()


def _share_one_heap() -> None:
    """Keep glibc from giving each thread a heap of its own: the interpreter's lock lets one of them at it at a time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
