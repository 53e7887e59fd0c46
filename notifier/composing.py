"""From a claimed mail to the bytes that leave: render once per event and kind of reader, assemble per recipient."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain import unsubscribe
from notifier.domain.bodies import encode_body
from notifier.domain.errors import HeaderInjection, InvalidAddress, RenderError, SmtpFault
from notifier.domain.headers import mailbox
from notifier.domain.mail import Outgoing, pieces
from notifier.domain.mail_headers import MailFacts
from notifier.domain.vocabulary import FaultCause, Phase, Rule
from notifier.rendering.site import Customer, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from notifier.domain.bodies import EncodedBody
    from notifier.domain.servers import SmtpServer
    from notifier.rendering.renderer import Renderer
    from notifier.rendering.site import Site
    from notifier.store.claims import Batch, Mail

_KEPT_BODIES = 48  # about 20 KB each; a sender comes back to an event after others have made six each

_Key = tuple[int, str, str, str | None, Rule | None]  # the rule where the body differs by it


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed(Outgoing):
    """A mail ready to leave. note tells why the built-in template replaced a customer's broken one."""

    note: str | None


class _Shared(NamedTuple):
    """What the mails about one event have in common, for one kind of reader."""

    encoded: EncodedBody
    note: str | None


class Composer:
    """Makes the bytes of mails; thread-safe. now gives the time for the Date header."""

    def __init__(
        self,
        *,
        renderer: Renderer,
        site: Site,
        signing_keys: Sequence[str],
        max_bytes: int,
        now: Callable[[], datetime],
    ) -> None:
        self._renderer = renderer
        self._site = site
        self._signing_keys = tuple(signing_keys)
        self._personal = bool(site.links.get("unsubscribe"))
        self._max_bytes = max_bytes
        self._now = now
        self._lock = threading.Lock()
        self._bodies: OrderedDict[_Key, _Shared] = OrderedDict()

    def compose(self, mail: Mail, batch: Batch, sender: SmtpServer) -> Composed:
        """Return one mail, ready to leave. Raises SmtpFault in phase prepare for whatever makes that impossible."""
        check_sender(sender)
        try:
            body = self._body(mail, batch, sender.reply_to_email)
            facts = self._facts(mail, batch, sender)
            made = pieces(facts, body.encoded, self._unsubscribe_url(mail))
        except Exception as exc:
            raise unmade(exc) from exc
        composed = Composed(
            mail_from=sender.from_email,
            rcpt_to=mail.recipient_email,
            pieces=made,
            dotless=True,
            note=body.note,
        )
        if composed.size > self._max_bytes:
            detail = (
                f"the mail has {composed.size} bytes, delivery.max_message_bytes allows {self._max_bytes}"
            )
            raise _cannot(FaultCause.TOO_LARGE, detail)
        return composed

    def _body(self, mail: Mail, batch: Batch, contact: str | None) -> _Shared:
        reader = Reader(locale=batch.locale, timezone=mail.reader_timezone or batch.timezone, rule=mail.rule)
        place = (mail.job_event_id, reader.locale, reader.timezone, contact)
        with self._lock:
            kept = self._bodies.get((*place, None)) or self._bodies.get((*place, reader.rule))
        if kept is not None:
            return kept
        customer = Customer(
            id=batch.customer_id, name=batch.customer_name, locale=batch.locale, timezone=batch.timezone
        )
        body = self._renderer.body(
            batch.document(mail), customer, reader, contact=contact, unsubscribe=self._personal
        )
        made = _Shared(encode_body(body), body.note)
        with self._lock:
            self._bodies[(*place, None if body.reasons else reader.rule)] = made
            if len(self._bodies) > _KEPT_BODIES:
                self._bodies.popitem(last=False)
        return made

    def _facts(self, mail: Mail, batch: Batch, sender: SmtpServer) -> MailFacts:
        return MailFacts(
            mail_type=mail.event_type,
            product=self._site.product,
            environment=self._site.environment,
            customer_id=batch.customer_id,
            customer_name=batch.customer_name,
            subject=mail.subject,
            from_email=sender.from_email,
            reply_to_email=sender.reply_to_email,
            to_address=mail.recipient_email,
            message_id=mail.message_id,
            date=self._now(),
            job_id=mail.job_id,
            compliance_result_id=mail.compliance_result_id,
            trace_id=mail.trace_id,
            rule=mail.rule,
        )

    def _unsubscribe_url(self, mail: Mail) -> str | None:
        if not self._personal:
            return None
        token = unsubscribe.sign(
            self._signing_keys,
            customer_id=mail.customer_id,
            event_type=mail.event_type,
            recipient_key=mail.recipient_key,
        )
        return self._site.link("unsubscribe", token=token)


def check_sender(sender: SmtpServer) -> None:
    """Blame a bad sender on its setting, not on the recipient; plain SQL can write one (B24). Raises SmtpFault."""
    for setting, text in (("from_email", sender.from_email), ("reply_to_email", sender.reply_to_email)):
        try:
            if text:
                mailbox(text)
        except InvalidAddress as exc:
            detail = f"{setting} of the SMTP configuration is no usable address: {exc}"
            raise _cannot(FaultCause.HEADER_INJECTION, detail) from exc


def unmade(error: Exception) -> SmtpFault:
    """Return the fault of a mail that broke while it was made, in phase prepare.

    Whatever broke ends that mail, not the thread that makes all others: so also what nobody foresaw has one.
    """
    match error:
        case RenderError():
            return _cannot(FaultCause.RENDER_ERROR, str(error))
        case HeaderInjection():
            return _cannot(FaultCause.HEADER_INJECTION, str(error))
        case InvalidAddress():
            return _cannot(FaultCause.INVALID_RECIPIENT, str(error))
        case _:
            return _cannot(FaultCause.RENDER_ERROR, f"{type(error).__name__}: {error}")


def _cannot(cause: FaultCause, detail: str) -> SmtpFault:
    return SmtpFault(phase=Phase.PREPARE, cause=cause, detail=detail[:1000])
