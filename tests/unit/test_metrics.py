from __future__ import annotations

import math
import re
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from notifier import certificates
from notifier.broker.consumer import ConsumerState
from notifier.domain.backlog import Backlog
from notifier.domain.outcomes import Kind
from notifier.domain.vocabulary import FAILURE_REASONS, REJECTION_REASONS
from notifier.metrics import CONSUMER_STATES, Metrics

NOW = 1_790_000_000.0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", now=lambda: NOW)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_name_has_our_prefix_or_is_the_process_itself(metrics: Metrics) -> None:
    names = {family.name for family in metrics.registry.collect()}
    assert {name for name in names if not name.startswith(("notifier_", "process_"))} == set()


def test_no_series_tells_when_it_was_created(metrics: Metrics) -> None:
    body, content_type = metrics.exposition()
    assert "_created" not in body.decode()
    assert content_type.startswith("text/plain")


def test_names_end_in_base_units(metrics: Metrics) -> None:
    for family in metrics.registry.collect():
        assert not re.search(r"_(ms|millis|minutes|hours|kb|mb)$", family.name), family.name
        assert family.documentation


def test_the_page_can_be_parsed(metrics: Metrics) -> None:
    metrics.mail_sent(0.3)
    families = {family.name for family in text_string_to_metric_families(metrics.exposition()[0].decode())}
    assert {"notifier_mails_finished", "notifier_delivery_latency_seconds", "notifier_build_info"} <= families


def test_every_reason_exists_at_zero_before_the_first_fault(metrics: Metrics) -> None:
    for reason in REJECTION_REASONS:
        assert value(metrics, "notifier_events_rejected_total", reason=reason) == 0
    for failure in FAILURE_REASONS:
        assert value(metrics, "notifier_mails_finished_total", status="failed", failure_reason=failure) == 0


def test_the_states_are_those_of_the_consumer() -> None:
    assert set(CONSUMER_STATES) == {state.value for state in ConsumerState}


def test_a_foreign_event_type_makes_no_new_series(metrics: Metrics) -> None:
    metrics.event_taken("job_failed", "accepted")
    metrics.event_taken("<script>", "ignored")
    assert value(metrics, "notifier_events_total", event_type="job_failed", outcome="accepted") == 1
    assert value(metrics, "notifier_events_total", event_type="other", outcome="ignored") == 1
    assert b"<script" not in metrics.exposition()[0]


def test_the_way_of_a_mail_is_counted(metrics: Metrics) -> None:
    metrics.intake_batch(3)
    metrics.event_duplicate()
    metrics.event_rejected("bad_json")
    assert metrics.rejections == 1
    metrics.claimed(16)
    metrics.claimed(0)
    metrics.claim_locked()
    metrics.attempt(Kind.TRANSIENT)
    metrics.attempt(Kind.AMBIGUOUS)
    metrics.ambiguous_found(2)
    metrics.smtp_step("send", 0.2)
    metrics.mail_sent(12)
    metrics.mail_failed("expired", 2)
    metrics.link_lost("broker")
    assert value(metrics, "notifier_intake_batch_events_sum") == 3
    assert value(metrics, "notifier_events_duplicate_total") == 1
    assert value(metrics, "notifier_events_rejected_total", reason="bad_json") == 1
    assert [
        value(metrics, "notifier_claims_total", result=name) for name in ("rows", "nothing", "locked")
    ] == [1, 1, 1]
    assert value(metrics, "notifier_claim_batch_mails_sum") == 16
    assert value(metrics, "notifier_mail_attempts_total", result="transient") == 1
    assert value(metrics, "notifier_mails_ambiguous_total") == 3
    assert value(metrics, "notifier_smtp_step_seconds_count", step="send") == 1
    assert value(metrics, "notifier_delivery_latency_seconds_sum") == 12
    assert value(metrics, "notifier_mails_finished_total", status="sent", failure_reason="none") == 1
    assert value(metrics, "notifier_mails_finished_total", status="failed", failure_reason="expired") == 2
    assert value(metrics, "notifier_links_lost_total", service="broker") == 1


def test_the_state_is_shown(metrics: Metrics) -> None:
    metrics.backlog(
        Backlog(
            pending=5,
            due=3,
            oldest_pending_age=61.5,
            oldest_due_age=2.5,
            oldest_held_age=61.25,
            breakers_open=1,
        )
    )
    metrics.main_loop_turned()
    metrics.dead_letters(4)
    metrics.consumer_is("consuming")
    assert value(metrics, "notifier_mails_pending") == 5
    assert value(metrics, "notifier_mails_due") == 3
    assert value(metrics, "notifier_oldest_pending_age_seconds") == 61.5
    assert value(metrics, "notifier_oldest_due_age_seconds") == 2.5
    assert value(metrics, "notifier_oldest_held_age_seconds") == 61.25
    assert value(metrics, "notifier_breakers_open") == 1
    assert value(metrics, "notifier_database_last_success_timestamp_seconds") == NOW
    assert value(metrics, "notifier_main_loop_last_turn_timestamp_seconds") == NOW
    assert value(metrics, "notifier_dead_letters") == 4
    assert value(metrics, "notifier_consumer_state", state="consuming") == 1
    assert value(metrics, "notifier_consumer_state", state="connecting") == 0
    assert value(metrics, "notifier_build_info", version="1.2.3") == 1


def test_what_nobody_has_measured_yet_is_no_number(metrics: Metrics) -> None:
    """A zero would be a fall at each restart, and the first measurement a rise that wakes somebody."""
    for name in ("dead_letters", "mails_pending", "oldest_due_age_seconds", "breakers_open"):
        found = value(metrics, f"notifier_{name}")
        assert found is not None
        assert math.isnan(found), name


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def ends(metrics: Metrics) -> dict[str, float]:
    (family,) = (family for family in metrics.registry.collect() if family.name == certificates.NAME)
    return {sample.labels["server_id"]: sample.value for sample in family.samples}


def test_the_certificates_that_end_first_are_shown_and_no_others(metrics: Metrics) -> None:
    for server in range(100):
        metrics.certificate_seen(server, NOW + 1000 - server)
    assert ends(metrics) == {str(server): NOW + 1000 - server for server in range(80, 100)}


def test_a_renewed_certificate_replaces_the_old_one_and_one_not_seen_for_a_week_goes() -> None:
    clock = Clock()
    metrics = Metrics(version="1", now=clock)
    metrics.certificate_seen(0, NOW + 1)
    metrics.certificate_seen(7, NOW + 1)
    clock.now += certificates.FORGOTTEN
    metrics.certificate_seen(7, NOW + 5000)
    assert ends(metrics) == {"0": NOW + 1, "7": NOW + 5000}
    clock.now += 1
    assert ends(metrics) == {"7": NOW + 5000}


def test_two_workers_in_one_process_do_not_share_series() -> None:
    first, second = Metrics(version="1"), Metrics(version="1")
    first.event_duplicate()
    assert value(second, "notifier_events_duplicate_total") == 0
