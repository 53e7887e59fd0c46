"""From a published event to an accepted mail and a final row, through the real process."""

from __future__ import annotations

import email
import email.policy
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.world import World


SAMPLES = sorted((Path(__file__).parents[2] / "docs" / "events").glob("*.json"))
PREFERENCES = (
    (1, "operator", "oscar@acme.example", ("job_failed",)),
    (1, "viewer", "vera@acme.example", ("job_success", "compliance_violation")),
    (2, "admin", "nora@nordwind.example", ("scheduled_backup_complete",)),
    (2, "operator", "noc@nordwind.example", ("job_partial",)),
    (2, "viewer", "noc@nordwind.example", ("job_partial",)),  # they share the mailbox: one mail
)
ADMIN = "user1@reader.example"  # of customer 1: gets failures without a preference
EXPECTED = {
    ("compliance_violation", "vera@acme.example"): (4810, 9001),
    ("job_failed", ADMIN): (4812, None),
    ("job_failed", "oscar@acme.example"): (4812, None),
    ("job_partial", "noc@nordwind.example"): (4813, None),
    ("job_success", "vera@acme.example"): (4811, None),
    ("scheduled_backup_complete", "nora@nordwind.example"): (4814, None),
}


def test_the_sample_events_become_one_mail_per_recipient_and_one_sent_row_each(world: World) -> None:
    """`notifier publish --new-id docs/events/*.json`, twice: each time new events."""
    customers = [world.customer(), world.customer(admins=0)]
    assert [one.id for one in customers] == [1, 2]
    for customer_id, role, address, event_types in PREFERENCES:
        world.user(customer_id, role=role, email=address)
        for event_type in event_types:
            world.database.execute(
                "INSERT INTO notification_preferences (user_id, customer_id, event_type)"
                " SELECT max(id), %s, %s FROM users",
                (customer_id, event_type),
            )
    worker = world.worker().ready()

    for _ in range(2):
        told = world.command("publish", "--new-id", *map(str, SAMPLES))
        assert "5 published" in told

    world.wait_settled(2 * len(EXPECTED))
    rows = world.database.rows(
        "SELECT event_type, recipient_email, job_id, compliance_result_id, message_id FROM notification_events"
        " WHERE status = 'sent' AND sent_at IS NOT NULL AND attempts = 1 AND error_message IS NULL AND smtp_code = 250"
    )
    facts = Counter((*row[:2], row[2:4]) for row in rows)
    assert facts == {(*key, ids): 2 for key, ids in EXPECTED.items()}
    sent = {
        str(mail["Message-ID"]): (kept.rcpt_tos, mail)
        for customer in customers
        for kept in customer.server.mails
        if (mail := email.message_from_bytes(kept.data, policy=email.policy.default))
    }
    assert sum(len(customer.server.mails) for customer in customers) == len(sent) == len(rows)
    for _, recipient, _, _, message_id in rows:
        rcpt_tos, mail = sent[str(message_id)]
        assert (rcpt_tos, mail["To"]) == ((recipient,), recipient)
        assert mail.get_content_type() == "multipart/alternative"
        text, html = mail.iter_parts()
        assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
        assert re.search(r'<td [^>]*style="[^"]*color:', html.get_content())
    assert worker.terminate() == 0


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
