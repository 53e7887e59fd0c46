"""Whose mails are claimed next, and how many at once, on a real database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from notifier.store import claims, sweep
from notifier.store.engine import OwnConnection
from tests.store_rows import customer_with, number, wake
from tests.store_work import claim, take_back
from tests.waiting import wait_until

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def test_customers_take_turns_however_many_mails_one_has(connection: Connection) -> None:
    """A customer with a mountain of mails is served once while each of the others is."""
    busy = customer_with(connection, 100)
    others = [customer_with(connection, 1) for _ in range(5)]
    served = [batch.customer_id for _ in range(6) if (batch := claim(connection)) is not None]
    assert sorted(served) == sorted([busy, *others])


def test_a_batch_is_all_due_mails_of_one_customer_up_to_16_the_oldest_first(connection: Connection) -> None:
    customer = customer_with(connection, 20)
    batch = claim(connection)
    assert batch is not None
    assert (batch.customer_id, len(batch.mails)) == (customer, 16)
    assert [mail.id for mail in batch.mails] == sorted(mail.id for mail in batch.mails)
    rest = claim(connection)
    assert rest is not None
    assert len(rest.mails) == 4
    assert claim(connection) is None


def test_a_batch_says_whether_another_claim_may_find_work(connection: Connection) -> None:
    customer_with(connection, 17)
    customer_with(connection, 1)
    found = [batch.more for _ in range(3) if (batch := claim(connection)) is not None]
    assert found == [True, True, False]  # the other customer's, the 17th, nothing


def test_a_batch_that_left_mails_behind_says_so(connection: Connection) -> None:
    customer_with(connection, 2)
    connection.exec_driver_sql(
        "UPDATE notification_events SET ambiguous_count = 1 WHERE id = (SELECT max(id) FROM notification_events)"
    )
    found = [(len(batch.mails), batch.more) for _ in range(2) if (batch := claim(connection)) is not None]
    assert found == [(1, True), (1, False)]


def test_a_slow_server_gets_small_batches(connection: Connection) -> None:
    customer_with(connection, 5)
    server = number(connection, "SELECT id FROM smtp_configs")
    batch = claim(connection, slow=f'{{"{server}": 2}}')
    assert batch is not None
    assert len(batch.mails) == 2


def test_a_server_that_hangs_just_now_is_left_out(connection: Connection) -> None:
    customer_with(connection, 5)
    server = number(connection, "SELECT id FROM smtp_configs")
    hanging = f'{{"{server}": 0}}'
    assert claim(connection, slow=hanging) is None
    assert not claims.claimable(connection, connections=4, unproven=True, slow=hanging)


def test_a_mail_that_may_have_left_already_travels_alone(connection: Connection) -> None:
    """Bad neighbours cannot use up its max_ambiguous."""
    customer_with(connection, 4)
    connection.exec_driver_sql(
        "UPDATE notification_events SET ambiguous_count = 1 WHERE id = (SELECT min(id) + 1 FROM notification_events)"
    )
    sizes = [len(batch.mails) for _ in range(3) if (batch := claim(connection)) is not None]
    assert sorted(sizes) in ([1, 3], [1, 1, 2])


def test_every_mail_travels_alone_where_an_ambiguous_one_is_not_repeated(connection: Connection) -> None:
    customer_with(connection, 3)
    batch = claim(connection, alone=True)
    assert batch is not None
    assert len(batch.mails) == 1


def test_an_open_breaker_keeps_its_customers_mails_and_nobody_else_s(connection: Connection) -> None:
    held = customer_with(connection, 1)
    free = customer_with(connection, 1)
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = now() + interval '1 hour' WHERE server_id ="
        " (SELECT id FROM smtp_configs WHERE customer_id = %(c)s)",
        {"c": held},
    )
    batch = claim(connection)
    assert batch is not None
    assert batch.customer_id == free
    assert claim(connection) is None


def test_a_half_open_breaker_is_tried_with_one_mail(connection: Connection) -> None:
    customer_with(connection, 5, proven=False)
    connection.exec_driver_sql("UPDATE smtp_breakers SET trips = 1, open_until = now() - interval '1 second'")
    batch = claim(connection)
    assert batch is not None
    assert len(batch.mails) == 1
    assert claim(connection) is None


def test_an_unproven_server_gets_one_connection_and_only_from_senders_that_may(
    connection: Connection,
) -> None:
    customer_with(connection, 40, proven=False)
    assert claim(connection, unproven=False) is None
    assert claim(connection) is not None
    assert claim(connection) is None


def test_a_proven_server_gets_as_many_connections_as_allowed(connection: Connection) -> None:
    customer_with(connection, 100)
    got = [claim(connection, connections=3) for _ in range(5)]
    assert [batch is not None for batch in got] == [True, True, True, False, False]


def test_customers_without_a_server_share_the_default_s_connections(connection: Connection) -> None:
    for _ in range(5):
        customer_with(connection, 1, own_server=False)
    got = [claim(connection, connections=2) for _ in range(4)]
    assert [batch is not None for batch in got] == [True, True, False, False]


def test_an_expired_mail_is_not_claimed(connection: Connection) -> None:
    customer_with(connection, 1)
    connection.exec_driver_sql("UPDATE notification_events SET expires_at = now() - interval '1 second'")
    assert claim(connection) is None


@pytest.mark.parametrize("own_server", [True, False])
def test_eight_claimers_at_once_never_exceed_the_cap_and_take_no_mail_twice(
    engine: Engine, connection: Connection, *, own_server: bool
) -> None:
    """Whoever finds the lane locked goes away empty-handed; the room that is left then, the next one finds."""
    for _ in range(1 if own_server else 6):
        customer_with(connection, 120 if own_server else 20, own_server=own_server)
    start = threading.Barrier(8)
    taken: list[tuple[int, ...]] = []

    def claimer() -> None:
        database = OwnConnection(engine)
        start.wait(10)
        for _ in range(6):
            batch = database.run(claim)
            if batch is not None:
                taken.append(tuple(mail.id for mail in batch.mails))
        database.close()

    threads = [threading.Thread(target=claimer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 1 <= len(taken) <= 4
    while (batch := claim(connection)) is not None:
        taken.append(tuple(mail.id for mail in batch.mails))
    ids = [row_id for batch in taken for row_id in batch]
    assert len(ids) == len(set(ids))
    assert len(taken) == 4


def test_a_lane_whose_mails_are_all_past_their_time_needs_no_repair(connection: Connection) -> None:
    customer_with(connection, 2)
    connection.exec_driver_sql("UPDATE notification_events SET expires_at = now() - interval '1 second'")
    assert claim(connection) is None
    assert sweep.repair_lanes(connection) == 0


def test_a_silent_worker_keeps_neither_its_connections_nor_the_mails_it_had_not_let_go(
    connection: Connection,
) -> None:
    """F3, F7: nobody waits for the lease of a dead worker; what may have left is the lease's business."""
    customer_with(connection, 40, proven=False)
    batch = claim(connection)
    assert batch is not None
    gone, held = batch.mails[0].id, {mail.id for mail in batch.mails[1:]}
    assert claims.stamp(connection, token=batch.token, ids=[gone], lease=480) == {gone}
    assert claim(connection) is None
    connection.exec_driver_sql("UPDATE delivery_batches SET alive_until = now() - interval '1 second'")
    another = claim(connection)
    assert another is not None
    assert take_back(connection).unsent == len(held)
    assert claims.stamp(connection, token=batch.token, ids=sorted(held), lease=480) == frozenset()
    free = "SELECT id FROM notification_events WHERE lock_token IS NULL"
    assert held <= set(connection.exec_driver_sql(free).scalars())
    kept = "SELECT id FROM notification_events WHERE lock_token = %(token)s"
    assert connection.exec_driver_sql(kept, {"token": batch.token}).scalars().all() == [gone]


def test_a_worker_that_says_so_lives_however_long_it_takes(connection: Connection) -> None:
    customer_with(connection, 40, proven=False)
    batch = claim(connection)
    assert batch is not None
    connection.exec_driver_sql("UPDATE delivery_batches SET alive_until = now() + interval '1 second'")
    claims.keep(connection, [batch.token])
    left = "SELECT extract(epoch FROM alive_until - now())::int FROM delivery_batches"
    assert number(connection, left) >= 29
    assert take_back(connection).unsent == 0
    assert claim(connection) is None


def test_a_mail_whose_workers_vanish_is_tried_at_once_then_later_then_no_more(connection: Connection) -> None:
    """Kept apart by chance, an innocent mail does not meet its end with the one that kills the workers."""
    customer = customer_with(connection, 1)
    waits = []
    for _ in range(sweep.MAX_LOST_CLAIMS):
        assert claim(connection) is not None
        connection.exec_driver_sql("UPDATE notification_events SET lease_until = now() - interval '1 second'")
        take_back(connection)
        wait = "SELECT extract(epoch FROM next_attempt_at - now())::float8 FROM notification_events"
        waits.append(connection.exec_driver_sql(wait).scalar_one())
        connection.exec_driver_sql("UPDATE notification_events SET next_attempt_at = now()")
        wake(connection, customer)
    assert waits[0] <= 0
    assert 0 < waits[1] <= sweep.LOST_AGAIN_SECONDS
    reason = connection.exec_driver_sql("SELECT failure_reason FROM notification_events").scalar_one()
    assert reason == "render_error"


def test_claims_that_come_at_the_same_moment_keep_to_the_cap_of_a_shared_server(
    engine: Engine, connection: Connection
) -> None:
    """Each has seen a free connection before it gets the server's lock, and must look again."""
    for _ in range(6):
        customer_with(connection, 1, own_server=False)
    taken: list[claims.Batch] = []

    def claimer() -> None:
        database = OwnConnection(engine)
        batch = database.run(claim)
        database.close()
        if batch is not None:
            taken.append(batch)

    threads = [threading.Thread(target=claimer) for _ in range(6)]
    with engine.begin() as holder:
        holder.exec_driver_sql("SELECT FROM smtp_breakers WHERE server_id = 0 FOR UPDATE")
        for thread in threads:
            thread.start()
        wait_until(
            lambda: number(connection, _WAITING) == 6,
            2.5,
            "all claims to wait for the server's lock",
        )
    for thread in threads:
        thread.join(60)
    assert len(taken) == 4


def test_a_lost_claim_can_be_given_back(connection: Connection) -> None:
    customer_with(connection, 3)
    token = uuid4()
    assert claim(connection, token) is not None
    claims.release(connection, token=token)
    again = claim(connection)
    assert again is not None
    assert len(again.mails) == 3


def test_a_lane_that_another_claim_holds_is_told_from_an_empty_one(
    engine: Engine, connection: Connection
) -> None:
    assert not claims.claimable(connection, connections=4, unproven=True, slow="{}")
    customer_with(connection, 1)
    with engine.begin() as other:
        other.exec_driver_sql("SELECT FROM delivery_lanes FOR UPDATE")
        assert claim(connection) is None
        assert claims.claimable(connection, connections=4, unproven=True, slow="{}")


def test_the_first_columns_of_a_claim_are_the_fields_of_a_mail(connection: Connection) -> None:
    columns = connection.exec_driver_sql(
        "SELECT * FROM claim_batch(gen_random_uuid(), 'test', '1 min', 1, 1, true, false, '{}')"
    ).keys()
    assert tuple(columns)[: len(claims.Mail._fields)] == claims.Mail._fields
