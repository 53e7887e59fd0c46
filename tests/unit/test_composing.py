"""From a claimed mail to its bytes, with the shipped templates."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from notifier.composing import Composer
from notifier.domain.addresses import Mailbox
from notifier.domain.errors import HeaderInjection, InvalidAddress, RenderError, SmtpFault
from notifier.domain.servers import SmtpServer
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.rendering.renderer import Renderer
from notifier.rendering.site import Site
from notifier.resources import path
from notifier.store.audience import Account
from notifier.store.claims import Batch, Mail
from notifier.trial_mail import TrialMails

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.domain.bodies import Body

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


class Broken(Renderer):
    """Cannot render anything."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def body(self, *_: object, **__: object) -> Body:
        raise self._error

    def test_mail(self, *_: object, **__: object) -> tuple[str, Body]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "cause", "detail"),
    [
        (RenderError("no such filter"), FaultCause.RENDER_ERROR, "no such filter"),
        (HeaderInjection("two subjects"), FaultCause.HEADER_INJECTION, "two subjects"),
        (InvalidAddress("it has no @"), FaultCause.INVALID_RECIPIENT, "it has no @"),
        (ZeroDivisionError("by zero"), FaultCause.RENDER_ERROR, "ZeroDivisionError: by zero"),
        (ValueError("x" * 2000), FaultCause.RENDER_ERROR, "ValueError: " + "x" * 988),
    ],
    ids=["template", "header", "address", "unforeseen", "long"],
)
def test_whatever_breaks_while_a_mail_is_made_is_a_fault_of_that_mail(
    error: Exception, cause: FaultCause, detail: str
) -> None:
    """Of a test mail too: its row is written, and who asked for it is told."""
    for fault in (mail_fault(error), trial_fault(error, SERVER)):
        assert (fault.phase, fault.cause, fault.detail) == (Phase.PREPARE, cause, detail)


def mail_fault(error: Exception) -> SmtpFault:
    composer = Composer(
        renderer=Broken(error), site=SITE, signing_keys=(), max_bytes=10, now=lambda: datetime.now(UTC)
    )
    with pytest.raises(SmtpFault) as caught:
        composer.compose(*claimed(3), SERVER)
    return caught.value


def trial_fault(error: Exception, server: SmtpServer) -> SmtpFault:
    account = Account(
        customer_id=1,
        name="Acme",
        locale="en",
        timezone="UTC",
        server_id=1,
        enabled=True,
        from_email=None,
        held_until=None,
        held_because=None,
    )
    with pytest.raises(SmtpFault) as caught:
        TrialMails(renderer=Broken(error), site=SITE).made(
            account,
            server,
            Mailbox(local="anna", domain="acme.example"),
            message_id="<1@acme.example>",
            requested_by="anna",
            now=datetime.now(UTC),
        )
    return caught.value


@pytest.mark.parametrize(
    ("setting", "server"),
    [
        ("from_email", replace(SERVER, from_email="nobody")),
        ("reply_to_email", replace(SERVER, reply_to_email="nobody")),
    ],
)
def test_an_unusable_sender_is_blamed_on_its_setting(
    composer: Composer, setting: str, server: SmtpServer
) -> None:
    with pytest.raises(SmtpFault) as caught:
        composer.compose(*claimed(4), server)
    for fault in (caught.value, trial_fault(RuntimeError(), server)):
        assert fault.cause == FaultCause.HEADER_INJECTION
        assert fault.detail.startswith(f"{setting} of the SMTP configuration is no usable address: ")
