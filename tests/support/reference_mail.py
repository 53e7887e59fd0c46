"""A mail as the standard library makes it: slow, and what `notifier.domain.mail.assemble` is compared with."""

from __future__ import annotations

import html
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

from notifier.domain import mail_headers
from notifier.domain.bodies import REASON_PLACEHOLDER, UNSUBSCRIBE_PLACEHOLDER, encode_body

if TYPE_CHECKING:
    from notifier.domain.bodies import Body, EncodedBody
    from notifier.domain.headers import Header
    from notifier.domain.mail_headers import MailFacts
    from notifier.domain.vocabulary import Rule


def reference(facts: MailFacts, body: Body, unsubscribe_url: str | None) -> EmailMessage:
    """Return the mail of one recipient."""
    encoded = encode_body(body)
    message = EmailMessage(policy=SMTP.clone(max_line_length=78))
    text, markup = map(ended, personal(body, unsubscribe_url, facts.rule))
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(markup, subtype="html", cte="quoted-printable")
    last_line = encoded.pieces[-1].split(b"\r\n")[-2]
    message.set_boundary(last_line.decode().removeprefix("--").removesuffix("--"))
    # Only now: add_alternative moves every Content-… header it finds into the first part.
    for header in headers(facts, encoded, unsubscribe_url):
        message[header.name] = header.text
    return message


def headers(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> tuple[Header, ...]:
    """Return every header but the MIME ones, in order, before any is encoded."""
    shared = mail_headers._shared(facts, encoded)
    return (
        *mail_headers._first_headers(shared),
        *mail_headers._personal_headers(facts, unsubscribe_url),
        *mail_headers._last_headers(shared),
    )


def personal(body: Body, unsubscribe_url: str | None, rule: Rule | None = None) -> tuple[str, str]:
    """Return the text and HTML as one recipient, chosen by `rule`, gets them."""
    url = unsubscribe_url or ""
    text = body.text.replace(UNSUBSCRIBE_PLACEHOLDER, url)
    markup = body.html.replace(UNSUBSCRIBE_PLACEHOLDER, html.escape(url))
    if rule is None or rule not in body.reasons:
        return text, markup
    reason = body.reasons[rule]
    return text.replace(REASON_PLACEHOLDER, reason.text), markup.replace(REASON_PLACEHOLDER, reason.html)


def ended(content: str) -> str:
    """Return a part as a mail carries it: whatever separates its lines is a line end, with one at the very end."""
    return "\n".join(content.splitlines()) + "\n"
