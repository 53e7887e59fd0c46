"""The first connection to PostgreSQL, whose failure may mean that the configuration is wrong."""

from __future__ import annotations

import re
import select
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import _psycopg, extensions

from notifier.domain.errors import ConfigurationError, DatabaseUnavailable, RightMissing, SchemaDamaged

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

_SECONDS = 5.0
_SQLSTATE_ALONE = 3  # libpq's PQERRORS_SQLSTATE
_STATE = re.compile(r": {2}([0-9A-Z]{5})\s*\Z")  # after the severity, which is in the server's language
# invalid authorization, no such database, no right to connect to it
_REFUSALS = ("28", "3D000", "42501")


@contextmanager
def first_connection(engine: Engine) -> Iterator[Connection]:
    """Connect, and say what to do about a failure, here or in the block.

    Raises ConfigurationError when the server refuses user, password or database, or when something that the block
    uses is missing in the schema; else DatabaseUnavailable. Only for the start: later a refusal is waited out like any
    fault, for a password may just be changed.
    """
    connected = False
    try:
        with engine.connect() as connection:
            connected = True
            yield connection
    except SchemaDamaged as exc:
        raise ConfigurationError([str(exc)]) from exc
    except RightMissing:
        raise  # the server is up, and the address is right
    except DatabaseUnavailable as exc:
        if not connected and _refused(engine):
            cure = "correct user, password or database in database.url"
            raise ConfigurationError([f"{exc}; {cure}"]) from exc
        raise DatabaseUnavailable(f"{exc}; check database.url and that the server is up") from exc


def _refused(engine: Engine) -> bool:
    """Ask once more, and tell whether the server refuses us.

    psycopg2 has no SQLSTATE of a connection that failed, and the server's words are in a language of its own. So libpq
    is asked to say the SQLSTATE alone. Where that cannot be done, the answer is no.
    """
    libpq = _libpq()
    if libpq is None:
        return False
    args, parameters = engine.dialect.create_connect_args(engine.url)
    try:
        attempt = psycopg2.connect(*args, **parameters, async_=True)
    except psycopg2.Error:
        return False
    with closing(attempt):
        libpq.PQsetErrorVerbosity(attempt.pgconn_ptr, _SQLSTATE_ALONE)
        try:
            _finish(attempt)
        except psycopg2.Error as exc:
            state = _STATE.search(str(exc))
            refused = state is not None and state[1].startswith(_REFUSALS)
            return refused or bool(libpq.PQconnectionNeedsPassword(attempt.pgconn_ptr))
    return False


def _finish(attempt: extensions.connection) -> None:
    """Go on until connected, or until the time is over. Raises psycopg2.Error."""
    ends = time.monotonic() + _SECONDS
    while (state := attempt.poll()) != extensions.POLL_OK and (rest := ends - time.monotonic()) > 0:
        ready = select.poll()  # a new one each time: libpq may try another address with another socket
        ready.register(attempt, select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        ready.poll(1000 * rest)


def _libpq() -> ctypes.CDLL | None:
    """Return the driver's own copy of libpq; None where it cannot be had."""
    try:
        import ctypes  # noqa: PLC0415 - only after a failure

        library = ctypes.CDLL(_psycopg.__file__)
        library.PQsetErrorVerbosity.argtypes = (ctypes.c_void_p, ctypes.c_int)
        library.PQconnectionNeedsPassword.argtypes = (ctypes.c_void_p,)
    except (ImportError, OSError, AttributeError):
        return None
    return library
