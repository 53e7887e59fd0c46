"""A living process keeps its batches alive, also over a lost session, on a real database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from notifier.pulse import Pulse
from tests.waiting import wait_until

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_BATCH = "INSERT INTO delivery_batches VALUES (gen_random_uuid(), 0, '{}') RETURNING token"
_SILENT = "UPDATE delivery_batches SET alive_until = '-infinity'"
_ALIVE = "SELECT token::text FROM delivery_batches WHERE alive_until > now() + interval '20 seconds'"
_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_the_batches_in_hand_and_no_others_stay_alive(engine: Engine, connection: Connection) -> None:
    ours = connection.exec_driver_sql(_BATCH).scalar_one()
    connection.exec_driver_sql(_BATCH)
    pulse = Pulse(engine=engine, in_hand=lambda: [ours], beat=0.01)
    pulse.start()
    try:
        for fault in (_SILENT, _OTHERS):
            connection.exec_driver_sql(fault)
            connection.exec_driver_sql(_SILENT)
            wait_until(
                lambda: connection.exec_driver_sql(_ALIVE).scalars().all() == [str(ours)], what="a beat"
            )
    finally:
        pulse.end()
    wait_until(lambda: "pulse" not in {thread.name for thread in threading.enumerate()}, what="its end")
