"""A disk for one database that can be made full. Real where this process may mount one, else played by triggers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from notifier.sandbox import postgres_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import Database

_SIZE = "64m"
_PIECE = 64 * 1024  # bytes
_WRITTEN_BY_INTAKE_AND_SENDERS = ("job_events", "notification_events")


class Disk(Protocol):
    def fill(self) -> None: ...

    def free(self) -> None: ...


class _Mounted:
    """Holds every table and index. PostgreSQL gets ENOSPC when one has to grow, and says so by SQLSTATE 53100."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no byte."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while filler.write(b"\0" * _PIECE) > 0:
                pass

    def free(self) -> None:
        self._filler.unlink()


class _Pretended:
    """Inserts raise what a full disk raises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.execute(
            "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$"
        )

    def fill(self) -> None:
        for table in _WRITTEN_BY_INTAKE_AND_SENDERS:
            self._database.execute(
                f"CREATE TRIGGER disk_is_full BEFORE INSERT ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION disk_is_full()"
            )

    def free(self) -> None:
        for table in _WRITTEN_BY_INTAKE_AND_SENDERS:
            self._database.execute(f"DROP TRIGGER disk_is_full ON {table}")


@contextlib.contextmanager
def small_disk(database: Database) -> Iterator[Disk]:
    """Put the database's tables and indexes on a disk of their own; nobody else may be using them now or at the end."""
    folder = Path(tempfile.mkdtemp(prefix="notifier-disk-"))
    try:
        if not _mounted(folder):
            yield _Pretended(database)
            return
        try:
            yield from _on_tablespace(database, folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def _mounted(folder: Path) -> bool:
    owner = postgres_binaries.usable_account().owner
    options = f"size={_SIZE},mode=0700" + (f",uid={owner},gid={owner}" if owner is not None else "")
    mount = ["mount", "-t", "tmpfs", "-o", options, "notifier-disk", str(folder)]
    return os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0


def _on_tablespace(database: Database, folder: Path) -> Iterator[Disk]:
    name = f"disk_{database.name}"[:60]
    database.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    _move(database, "pg_default", name)
    try:
        yield _Mounted(folder)
    finally:
        _move(database, name, "pg_default")
        database.execute(f"DROP TABLESPACE {name}")


def _move(database: Database, old: str, new: str) -> None:
    for kind in ("TABLE", "INDEX"):
        database.execute(f"ALTER {kind} ALL IN TABLESPACE {old} SET TABLESPACE {new}")
