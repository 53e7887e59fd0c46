"""What a worker at work shows to those who watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.support import promtool
from tests.support.certificates import authority
from tests.support.smtp_server import Options
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.acceptance.world import World

LABELS = {
    "event_type",
    "outcome",
    "reason",
    "status",
    "failure_reason",
    "result",
    "step",
    "le",
    "state",
    "service",
    "version",
    "server_id",
}


def test_the_metrics_of_a_worker_at_work_obey_the_conventions_and_name_nobody(world: World) -> None:
    server = world.smtp(Options(starttls=True))
    customer = world.customer(server, host="localhost", use_tls=True, ca_certificate=authority().pem)
    worker = world.worker().ready()
    world.fail_job(customer, 481216)
    world.wait_settled(1)
    page = ""

    def measured() -> bool:
        nonlocal page
        page = worker.get("/metrics")[1]
        return "notifier_mails_pending 0.0" in page

    wait_until(measured, 15, "the background check after the mail was sent")

    assert promtool.problems("check", "metrics", text=page) == ""
    samples = {
        (sample.name, *sample.labels.values()): sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert {label for sample in samples.values() for label in sample.labels} <= LABELS
    (config_id,) = world.database.rows("SELECT id FROM smtp_configs")[0]
    assert ("notifier_smtp_certificate_expiry_timestamp_seconds", str(config_id)) in samples
    assert samples["notifier_consumer_state", "consuming"].value == 1
    assert samples["notifier_mails_finished_total", "none", "sent"].value == 1
    assert samples["notifier_links_lost_total", "broker"].value == 0
    (name,) = world.database.rows("SELECT name FROM customers")[0]
    for secret in (str(name), "@", "481216", "localhost"):
        assert secret not in page
