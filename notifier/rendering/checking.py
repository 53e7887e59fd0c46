"""Renders everything once, so that `notifier check` names a broken template before a mail meets it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from notifier.domain.errors import RenderError
from notifier.domain.vocabulary import EVENT_TYPES
from notifier.rendering.set_folder import stray_files
from notifier.rendering.site import Customer, Reader
from notifier.rendering.story import ServerFacts

if TYPE_CHECKING:
    from notifier.domain.bodies import Body
    from notifier.domain.vocabulary import EventType
    from notifier.rendering.renderer import Renderer

_STATUS: dict[EventType, tuple[str, ...]] = {
    "job_success": ("success",),
    "job_failed": ("failed",),
    "job_partial": ("partial",),
    "compliance_violation": ("",),
    "scheduled_backup_complete": ("success", "partial", "failed"),
}
_AT = "2025-03-04T02:06:12Z"
_SERVER = ServerFacts(
    host="smtp.example.com",
    port=587,
    use_tls=True,
    use_ssl=False,
    username="notifier@example.com",
    from_email="notifier@example.com",
    reply_to_email=None,
    requested_by="an administrator",
    at=datetime(2025, 3, 4, 2, 6, 12, tzinfo=UTC),
)


def check(renderer: Renderer) -> list[str]:
    """Return one sentence for every template or customer's set that is broken; changes nothing."""
    problems = _rendered(renderer, Customer(id=0, name="a customer without a set"))
    for folder in renderer.customers.folders():
        if not (folder.name.isdigit() and folder.name.isascii() and folder.is_dir()):
            problems.append(f"{folder} is not a customer's folder; its name must be the customer's id")
            continue
        customer_id = int(folder.name)
        own = renderer.customers.of(customer_id)
        if own is None:
            continue
        problems += [f"{own.folder / name} is not a file of a template set" for name in stray_files(own)]
        problems += _rendered(renderer, Customer(id=customer_id, name="Check"))
    return problems


def _rendered(renderer: Renderer, customer: Customer) -> list[str]:
    found: dict[str, None] = {}  # in order, each once
    own = renderer.customers.of(customer.id)
    for language in renderer.languages:
        reader = Reader(locale=language, timezone="UTC", rule="role_default")
        for event_type in EVENT_TYPES:
            if own is None or event_type in own.mail_types or own.problem:
                for document in _documents(event_type):
                    found |= _noted(renderer, document, customer, reader)
        if own is None or "test" in own.mail_types:
            found |= _noted(
                renderer, None, Customer(id=customer.id, name=customer.name, locale=language), reader
            )
    return list(found)


def _noted(
    renderer: Renderer, document: dict[str, object] | None, customer: Customer, reader: Reader
) -> dict[str, None]:
    body: Body
    try:
        if document is None:
            _, body = renderer.test_mail(_SERVER, customer)
        else:
            body = renderer.body(document, customer, reader, contact="noc@example.com", unsubscribe=True)
    except RenderError as exc:
        return {str(exc): None}
    return {body.note: None} if body.note else {}


def _documents(event_type: EventType) -> list[dict[str, object]]:
    """Return events with everything an event may have, and with nothing it may lack."""
    found: list[dict[str, object]] = []
    for status in _STATUS[event_type]:
        for full in (True, False):
            data = _violation(full=full) if event_type == "compliance_violation" else _job(status, full=full)
            found.append({"type": event_type, "data": {"customer_id": 1, **data}})
    return found


def _job(status: str, *, full: bool) -> dict[str, object]:
    job: dict[str, object] = {"id": 1, "type": "config_backup", "status": status}
    if full:
        job |= {
            "requested_by": "anna",
            "schedule": {"id": 3, "name": "Nightly backup"},
            "started_at": "2025-03-04T02:00:00Z",
            "finished_at": _AT,
            "targets": {"total": 24, "succeeded": 12, "failed": 12},
            "devices": [
                {"id": 5, "hostname": f"edge-{n:02}", "status": "failed", "message": "SSH login timed out"}
                for n in range(12)
            ],
            "error": "SSH login to edge-01 timed out\n" * 30,
            "log_excerpt": "connecting\ngiving up",
            "log_lines": 412,
            "summary": {"checked": 24},
            "storage": "s3://backups",
            "size_bytes": 1_048_576,
            "changed": 3,
            "next_run_at": "2025-03-05T02:00:00Z",
        }
    return {"job": job}


def _violation(*, full: bool) -> dict[str, object]:
    result: dict[str, object] = {
        "id": 1,
        "status": "violation",
        "policy": {"id": 7, "name": "NTP servers"},
        "device": {"id": 17, "hostname": "core-01"},
    }
    if full:
        result |= {
            "detected_at": _AT,
            "severity": "high",
            "rule": "ntp.servers",
            "expected": "10.0.0.1",
            "found": ["192.0.2.7", "192.0.2.8"],
            "details": {"line": 12},
        }
    return {"compliance_result": result}
