"""From a sample to its finished mail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from notifier import resources
from notifier.domain.bodies import Body, encode_body
from notifier.domain.mail import assemble
from notifier.domain.mail_headers import MailFacts
from notifier.rendering.renderer import Renderer
from tests.golden.states import SITE, UNSUBSCRIBE_LINK
from tests.support.reference_mail import personal

if TYPE_CHECKING:
    from tests.golden.states import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """One finished mail: what people see, and the bytes on the wire."""

    sample: Sample
    subject: str
    text: str
    html: str
    body: Body
    raw: bytes

    @property
    def head(self) -> str:
        """The header block."""
        return self.raw.partition(b"\r\n\r\n")[0].decode().replace("\r\n", "\n") + "\n"


@cache
def renderer() -> Renderer:
    """The one renderer of the samples."""
    return Renderer(resources.path("templates"), SITE)


def build(sample: Sample) -> Mail:
    """Render, encode and assemble one sample."""
    if sample.server is not None:
        subject, body = renderer().test_mail(
            sample.server, sample.customer, timezone=sample.reader.timezone, contact=sample.contact
        )
        url = None
    else:
        subject = renderer().subject(sample.document, sample.customer)
        body = renderer().body(
            sample.document, sample.customer, sample.reader, contact=sample.contact, unsubscribe=True
        )
        url = UNSUBSCRIBE_LINK
    data = sample.document["data"]
    text, html = personal(body, url, sample.reader.rule)
    facts = MailFacts(
        mail_type=sample.mail_type,
        product=SITE.product,
        environment=SITE.environment,
        customer_id=sample.customer.id,
        customer_name=sample.customer.name,
        subject=subject,
        from_email="webnet@mail.example.com",
        reply_to_email="noc@acme.example",
        to_address="anna@example.org",
        message_id=f"<{sample.name}@mail.example.com>",
        date=datetime(2025, 3, 4, 2, 6, 13, tzinfo=UTC),
        job_id=data.get("job", {}).get("id"),
        compliance_result_id=data.get("compliance_result", {}).get("id"),
        rule=sample.reader.rule,
    )
    raw = assemble(facts, encode_body(body), url)
    return Mail(sample=sample, subject=subject, text=text, html=html, body=body, raw=raw)
