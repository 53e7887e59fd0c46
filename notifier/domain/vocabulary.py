"""Every closed list of the contract, once. A test compares them with the CHECK constraints of schema.sql."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

EventType = Literal[
    "job_success", "job_failed", "job_partial", "compliance_violation", "scheduled_backup_complete"
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

MailType = Literal[EventType, "test"]
MAIL_TYPES: tuple[MailType, ...] = get_args(MailType)

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

JobStatus = Literal["success", "partial", "failed"]
JOB_STATUSES: tuple[JobStatus, ...] = get_args(JobStatus)

Status = Literal["pending", "sent", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

InboxOutcome = Literal["accepted", "no_recipients", "ignored"]
INBOX_OUTCOMES: tuple[InboxOutcome, ...] = get_args(InboxOutcome)

FailureReason = Literal[
    "permanent_smtp",
    "sender_refused",
    "invalid_recipient",
    "smtputf8_unsupported",
    "too_large",
    "render_error",
    "header_injection",
    "no_smtp_config",
    "smtp_disabled",
    "policy_host",
    "auth",
    "tls",
    "attempts_exhausted",
    "expired",
    "ambiguous",
    "cancelled",
]
FAILURE_REASONS: tuple[FailureReason, ...] = get_args(FailureReason)

RejectionReason = Literal[
    "empty_body",
    "too_large",
    "bad_encoding",
    "content_encoding",
    "bad_json",
    "not_object",
    "too_deep",
    "bad_number",
    "duplicate_key",
    "schema",
    "unknown_customer",
    "id_conflict",
    "too_many_recipients",
    "poison",
]
REJECTION_REASONS: tuple[RejectionReason, ...] = get_args(RejectionReason)

Rule = Literal[
    "preference_enabled",
    "role_default",
    "preference_disabled",
    "job_type_filtered",
    "role_not_allowed",
    "not_subscribed",
    "no_address",
    "same_address",
    "inactive",
    "no_access",
]
RULES: tuple[Rule, ...] = get_args(Rule)
SELECTING_RULES: tuple[Rule, ...] = ("preference_enabled", "role_default")

MAX_ID = 2**63 - 1  # ids are PostgreSQL bigints


class Phase(StrEnum):
    """Where an SMTP conversation is (RFC 5321). The phase, not the exception, says what a fault means."""

    PREPARE = "prepare"
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"
    DONE = "done"
    QUIT = "quit"


class FaultCause(StrEnum):
    """What went wrong, apart from where. `REPLY` is a refusal the server put into words."""

    REPLY = "reply"
    LOST = "lost"
    TIMEOUT = "timeout"
    UNPARSABLE = "unparsable"
    REFUSED = "refused"
    DNS = "dns"
    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    HANDSHAKE = "handshake"
    STARTTLS_MISSING = "starttls_missing"
    PLAINTEXT_AUTH = "plaintext_auth"
    NO_AUTH_MECHANISM = "no_auth_mechanism"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - a cause, not a password
    POLICY_HOST = "policy_host"
    SMTPUTF8_UNSUPPORTED = "smtputf8_unsupported"
    TOO_LARGE = "too_large"
    INVALID_RECIPIENT = "invalid_recipient"
    RENDER_ERROR = "render_error"
    HEADER_INJECTION = "header_injection"
    NO_SMTP_CONFIG = "no_smtp_config"
    SMTP_DISABLED = "smtp_disabled"
    NOT_STARTED = "not_started"
