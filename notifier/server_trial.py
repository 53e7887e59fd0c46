"""One real test mail through a customer's server, stage by stage, with its row in the event log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier import trial_mail, wiring
from notifier.domain.errors import InvalidAddress, InvalidInput, NotFound, SmtpFault
from notifier.domain.identifiers import message_id
from notifier.domain.mail import Outgoing
from notifier.domain.outcomes import RetryPolicy, classify, settle
from notifier.domain.recipients import permitted_mailbox
from notifier.domain.servers import DEFAULT_SERVER_ID
from notifier.domain.vocabulary import FaultCause
from notifier.message_ids import new_uuid
from notifier.routes import no_server, usable_server
from notifier.smtp import diagnose
from notifier.smtp.cures import cure
from notifier.smtp.transports import transport
from notifier.store import audience, breakers, log_changes, smtp_configs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Engine

    from notifier.config import Settings
    from notifier.domain.addresses import Mailbox
    from notifier.domain.outcomes import Reply, Settlement
    from notifier.domain.recipients import Rules
    from notifier.domain.servers import SmtpServer
    from notifier.encryption import SecretBox
    from notifier.rendering.renderer import Renderer
    from notifier.smtp.deadlines import Deadlines
    from notifier.smtp.diagnose import Stage
    from notifier.smtp.policy import ConnectPolicy
    from notifier.smtp.transports import Transport
    from notifier.trial_mail import TrialMails

CONFIGURATION = "CONFIG"  # the stage before the first connection

# Tried once: whatever happens is the result.
_ONCE = RetryPolicy(
    max_attempts=1,
    backoff_initial=1,
    backoff_factor=1,
    backoff_max=1,
    jitter=0,
    greylist_delay=0,
    ambiguous_delay=0,
    max_ambiguous=0,
    on_ambiguous="fail",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """What came of it. `row_id` is the test mail's row in the event log."""

    row_id: int
    customer_id: int
    recipient_email: str
    server: str | None
    stages: tuple[Stage, ...]
    settlement: Settlement

    @property
    def sent(self) -> bool:
        """Whether the server took the mail."""
        return self.settlement.status == "sent"


class ServerTest:
    """Tests servers. default is the [smtp] section as a server, transport what stands in for it, if anything."""

    def __init__(
        self,
        *,
        engine: Engine,
        mails: TrialMails,
        box: SecretBox,
        rules: Rules,
        default: SmtpServer | None,
        transport: Transport | None,
        policy: ConnectPolicy,
        deadlines: Deadlines,
        message_id_domain: str | None,
    ) -> None:
        self._engine = engine
        self._mails = mails
        self._box = box
        self._rules = rules
        self._default = default
        self._transport = transport
        self._policy = policy
        self._deadlines = deadlines
        self._message_id_domain = message_id_domain

    def run(
        self,
        customer_id: int,
        to_address: str,
        *,
        requested_by: str,
        now: datetime,
        user_id: int | None = None,
    ) -> Tested:
        """Send the test mail of a customer and write its row, whatever happens.

        Raises NotFound for an unknown customer, InvalidInput for an address that may not get one.
        """
        mailbox = self._mailbox(to_address)
        with self._engine.connect() as connection:
            account = audience.accounts(connection, [customer_id]).get(customer_id)
            stored = smtp_configs.of_customer(connection, customer_id)
        if account is None:
            msg = f"there is no customer {customer_id}; the platform writes the table customers"
            raise NotFound(msg)
        sender = account.from_email or (self._default.from_email if self._default else "")
        domain = self._message_id_domain or sender.rpartition("@")[2] or "localhost.localdomain"
        identity = message_id(new_uuid(), domain)
        server: SmtpServer | None = None
        made = trial_mail.NONE
        stages: Sequence[Stage]
        try:
            server = usable_server(stored, box=self._box) if stored else self._default
            if server is None:
                raise no_server()
            made = self._mails.made(
                account, server, mailbox, message_id=identity, requested_by=requested_by, now=now
            )
            stages = self._send(server, mailbox, made.data)
        except SmtpFault as fault:
            stages = [_not_started(fault, customer_id, server)]
        settlement = _settlement(stages[-1])
        mail = log_changes.TriedTestMail(
            customer_id=customer_id,
            user_id=user_id,
            recipient_email=mailbox.address,
            recipient_key=mailbox.key,
            subject=made.subject,
            message_id=identity,
            server_id=account.server_id,
            settlement=settlement,
        )
        with self._engine.begin() as connection:
            row_id = log_changes.add_test_mail(connection, mail)
            if settlement.status == "sent":
                breakers.success(connection, account.server_id)
        return Tested(
            row_id=row_id,
            customer_id=customer_id,
            recipient_email=mailbox.address,
            server=f"{server.host}:{server.port}" if server else None,
            stages=tuple(stages),
            settlement=settlement,
        )

    def _mailbox(self, address: str) -> Mailbox:
        try:
            return permitted_mailbox(address, self._rules)
        except InvalidAddress as exc:
            raise InvalidInput({"recipient_email": [str(exc)]}) from exc

    def _send(self, server: SmtpServer, mailbox: Mailbox, data: bytes) -> list[Stage]:
        if server.server_id == DEFAULT_SERVER_ID and self._transport is not None:
            reply = self._transport.send(mail_from=server.from_email, rcpt_to=mailbox.address, data=data)
            detail = f"smtp.transport = {server.host!r} stands in for a server: {reply}"
            return [diagnose.Stage(name="DATA", ok=True, detail=detail, outcome=reply)]
        return diagnose.run(
            server,
            Outgoing(mail_from=server.from_email, rcpt_to=mailbox.address, pieces=(data,)),
            policy=self._policy,
            deadlines=self._deadlines,
            clock=time.monotonic,
        )


def from_settings(
    settings: Settings, *, engine: Engine, renderer: Renderer, deadlines: Deadlines | None = None
) -> ServerTest:
    """Return what tests servers as these settings say; deadlines: with less patience than the worker's."""
    return ServerTest(
        engine=engine,
        mails=trial_mail.TrialMails(renderer=renderer, site=wiring.site(settings)),
        box=wiring.secret_box(settings),
        rules=wiring.recipient_rules(settings),
        default=wiring.default_server(settings),
        transport=transport(settings.smtp.transport, file_path=settings.smtp.file_path),
        policy=wiring.connect_policy(settings),
        deadlines=deadlines or wiring.deadlines(settings),
        message_id_domain=settings.smtp.message_id_domain,
    )


def _not_started(fault: SmtpFault, customer_id: int, server: SmtpServer | None) -> Stage:
    cures = {
        FaultCause.NO_SMTP_CONFIG: f"Make one with: notifier smtp set {customer_id} --host … --from-email …",
        FaultCause.SMTP_DISABLED: f"Switch it on with: notifier smtp set {customer_id} --enabled",
    }
    remedy = cures.get(fault.cause) or (cure(fault, server) if server else "Set the password again.")
    return diagnose.Stage(
        name=CONFIGURATION,
        ok=False,
        detail=fault.detail,
        cure=remedy,
        kind=classify(fault).kind,
        outcome=fault,
    )


def _settlement(last: Stage) -> Settlement:
    outcome: SmtpFault | Reply | None = last.outcome
    if outcome is None:
        raise AssertionError(f"stage {last.name} ended without a fault or a reply")
    settlement = settle(
        classify(outcome), attempts=1, stamped=True, ambiguous_count=0, policy=_ONCE, chance=lambda: 0.5
    )
    # No server was given what never left this process.
    return settlement._replace(attempt_kept=False) if last.name == CONFIGURATION else settlement
