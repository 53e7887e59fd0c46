"""A process that has more files open than select() can name."""

from __future__ import annotations

import os
import resource
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SELECT_LIMIT = 1024  # FD_SETSIZE of the C library: select() takes the descriptors below
_ROOM = 512


@contextmanager
def crowded() -> Iterator[None]:
    """Hold every descriptor that select() could take, so that all new ones are beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _SELECT_LIMIT + _ROOM), hard))
        first = taken = os.open(os.devnull, os.O_RDONLY)
        held.callback(os.close, first)
        while taken < _SELECT_LIMIT:
            taken = os.dup(first)
            held.callback(os.close, taken)
        yield
