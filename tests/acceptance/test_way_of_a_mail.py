"""From a published event to an accepted mail and a final row, through the real process."""

from __future__ import annotations

import email
import email.policy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.world import World


def test_an_event_becomes_one_mail_per_recipient_and_one_sent_row_each(world: World) -> None:
    customer = world.customer(admins=3)
    world.worker().ready()
    world.fail_job(customer, 4812)

    rows = world.wait_settled(3)

    assert {row.status for row in rows} == {"sent"}
    assert not world.verdict().violations
    mail = email.message_from_bytes(customer.server.mails[0].data, policy=email.policy.default)
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert mail["Message-ID"] in {row.message_id for row in rows}
    (facts,) = world.database.rows(
        "SELECT DISTINCT job_id, attempts, sent_at IS NOT NULL, error_message, smtp_code FROM notification_events"
    )
    assert facts == (4812, 1, True, None, 250)


def test_the_same_event_five_times_to_two_workers_makes_one_mail(world: World) -> None:
    customer = world.customer()
    for _ in range(2):
        world.worker().ready()
    world.fail_job(customer, 1, copies=5)

    world.wait_settled(1)

    verdict = world.verdict()
    assert (verdict.lost, verdict.extra, verdict.violations) == (0, 0, ())


def test_sigterm_under_load_ends_with_0_and_nothing_is_lost_or_repeated(world: World) -> None:
    customer = world.customer(admins=2)
    first = world.worker().ready()
    for number in range(1, 101):
        world.fail_job(customer, number)

    assert first.terminate() == 0
    world.worker().ready()
    world.wait_settled(200)

    verdict = world.verdict()
    assert (verdict.lost, verdict.extra, verdict.ambiguous, verdict.violations) == (0, 0, 0, ())
