"""From a claimed mail to its bytes, with the shipped templates."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from notifier.composing import Composer
from notifier.domain.servers import SmtpServer
from notifier.rendering.renderer import Renderer
from notifier.rendering.site import Site
from notifier.resources import path
from notifier.store.claims import Batch, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "events" / "job_failed.json"
SITE = Site(
    product="Webnet",
    environment="test",
    base_url="https://webnet.example",
    links={"job": "{base_url}/jobs/{job_id}"},
)
SERVER = SmtpServer(
    server_id=0,
    version="",
    host="mail.example",
    port=25,
    use_tls=False,
    use_ssl=False,
    username=None,
    password=None,
    from_email="jobs@acme.example",
    reply_to_email=None,
)


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    renderer = Renderer(path("templates"), SITE)
    yield Composer(
        renderer=renderer, site=SITE, signing_keys=(), max_bytes=1_000_000, now=lambda: datetime.now(UTC)
    )
    renderer.close()


def claimed(number: int, **attributes: Any) -> tuple[Mail, Batch]:
    """A mail about the sample event, with attributes of the CloudEvent replaced."""
    document = json.loads(SAMPLE.read_text(encoding="utf-8")) | attributes
    mail = Mail(
        id=number,
        job_event_id=number,
        customer_id=1,
        attempts=0,
        ambiguous_count=0,
        recipient_email="anna@acme.example",
        recipient_key="anna@acme.example",
        event_type="job_failed",
        rule="role_default",
        subject="[Failed] Config backup #1 - Acme",
        message_id=f"<{number}@acme.example>",
        job_id=1,
        compliance_result_id=None,
        reader_timezone=None,
        created_at=datetime.now(UTC),
        trace_id=None,
    )
    batch = Batch(
        token=UUID(int=1),
        server_id=0,
        config_version=None,
        proven=True,
        needs_success=False,
        more=False,
        customer_id=1,
        customer_name="Acme",
        locale="en",
        timezone="UTC",
        mails=(mail,),
        documents={number: json.dumps(document)},
    )
    return mail, batch


def test_the_trace_of_the_event_is_told(composer: Composer) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    mail, batch = claimed(10**7)
    mail = mail._replace(trace_id=trace)
    message = message_from_bytes(composer.compose(mail, batch, SERVER).data)
    assert trace in [value for name, value in message.items() if "trace" in name.lower()]


def test_one_rendering_serves_readers_of_every_rule(composer: Composer) -> None:
    """Each is told why they get the mail, nobody why another one does."""
    mail, batch = claimed(2)
    bodies = {}
    for rule in ("role_default", "preference_enabled"):
        message = message_from_bytes(composer.compose(mail._replace(rule=rule), batch, SERVER).data)
        bodies[rule] = [
            str(part.get_payload(decode=True)) for part in message.walk() if not part.is_multipart()
        ]
    for part in bodies["role_default"]:
        assert "are on by default" in part
        assert "you asked for" not in part
    for part in bodies["preference_enabled"]:
        assert "you asked for" in part
        assert "are on by default" not in part
