"""The mail that tests a server: what it says, and its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.composing import check_sender, unmade
from notifier.domain.bodies import encode_body
from notifier.domain.mail import assemble
from notifier.domain.mail_headers import MailFacts
from notifier.rendering.site import Customer
from notifier.rendering.story import ServerFacts

if TYPE_CHECKING:
    from datetime import datetime

    from notifier.domain.addresses import Mailbox
    from notifier.domain.servers import SmtpServer
    from notifier.rendering.renderer import Renderer
    from notifier.rendering.site import Site
    from notifier.store.audience import Account


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialMail:
    """A test mail. `data` is the whole message."""

    subject: str
    data: bytes


NONE = TrialMail(subject="(test mail)", data=b"")  # stands for one that could not even be made


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialMails:
    """Makes the test mails of an installation."""

    renderer: Renderer
    site: Site

    def made(
        self,
        account: Account,
        server: SmtpServer,
        mailbox: Mailbox,
        *,
        message_id: str,
        requested_by: str,
        now: datetime,
    ) -> TrialMail:
        """Return the mail. Raises SmtpFault in phase prepare for whatever makes that impossible."""
        check_sender(server)
        customer = Customer(
            id=account.customer_id, name=account.name, locale=account.locale, timezone=account.timezone
        )
        facts = ServerFacts(
            host=server.host,
            port=server.port,
            use_tls=server.use_tls,
            use_ssl=server.use_ssl,
            username=server.username,
            from_email=server.from_email,
            reply_to_email=server.reply_to_email,
            requested_by=requested_by,
            at=now,
        )
        try:
            subject, body = self.renderer.test_mail(facts, customer, contact=server.reply_to_email)
            headers = MailFacts(
                mail_type="test",
                product=self.site.product,
                environment=self.site.environment,
                customer_id=account.customer_id,
                customer_name=account.name,
                subject=subject,
                from_email=server.from_email,
                reply_to_email=server.reply_to_email,
                to_address=mailbox.address,
                message_id=message_id,
                date=now,
            )
            return TrialMail(subject=subject, data=assemble(headers, encode_body(body), None))
        except Exception as exc:
            raise unmade(exc) from exc
