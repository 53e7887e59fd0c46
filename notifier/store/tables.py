"""The tables of schema.sql, by hand: for statements that are put together, and for types.

schema.sql is the truth and the only DDL; a test compares the two. CHECKs, comments, triggers and views are
there alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()

_Moment = sa.DateTime(timezone=True)


def _generated_id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _platform_id() -> sa.Column[int]:
    """Return the key of a table that the platform fills: its own ids, generated when left out."""
    return sa.Column("id", sa.BigInteger, sa.Identity(always=False), primary_key=True)


def _made(name: str = "created_at") -> sa.Column[object]:
    return sa.Column(name, _Moment, nullable=False, server_default=sa.func.now())


def _of(table: str, name: str, *, cascade: bool = True, key: bool = False) -> sa.Column[int]:
    reference = sa.ForeignKey(f"{table}.id", ondelete="CASCADE" if cascade else None)
    return sa.Column(name, sa.BigInteger, reference, nullable=False, primary_key=key)


schema_migrations = sa.Table(
    "schema_migrations",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("minimum_release", sa.Integer, nullable=False),
    _made("applied_at"),
)

customers = sa.Table(
    "customers",
    metadata,
    _platform_id(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("timezone", sa.Text, nullable=False, server_default="UTC"),
    sa.Column("locale", sa.Text, nullable=False, server_default="en"),
    _made(),
)

users = sa.Table(
    "users",
    metadata,
    _platform_id(),
    sa.Column("username", sa.Text, nullable=False, unique=True),
    sa.Column("email", sa.Text),
    sa.Column("role", sa.Text, nullable=False, server_default="viewer"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("timezone", sa.Text),
    _made(),
)

customer_users = sa.Table(
    "customer_users",
    metadata,
    _of("customers", "customer_id", key=True),
    _of("users", "user_id", key=True),
    sa.Column("role", sa.Text),
    sa.Index("ix_customer_users_role", "customer_id", "role", postgresql_include=["user_id"]),
    sa.Index("ix_customer_users_user", "user_id"),
)

customer_role_counts = sa.Table(
    "customer_role_counts",
    metadata,
    _of("customers", "customer_id", key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("users", sa.BigInteger, nullable=False),
)

smtp_configs = sa.Table(
    "smtp_configs",
    metadata,
    _generated_id(),
    sa.Column(
        "customer_id",
        sa.BigInteger,
        sa.ForeignKey("customers.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False, server_default="587"),
    sa.Column("use_tls", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("use_ssl", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("username", sa.Text),
    sa.Column("password", sa.Text),
    sa.Column("from_email", sa.Text, nullable=False),
    sa.Column("reply_to_email", sa.Text),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("ca_certificate", sa.Text),
    sa.Column("allow_plaintext_auth", sa.Boolean, nullable=False, server_default=sa.false()),
    _made(),
    _made("updated_at"),
)

notification_preferences = sa.Table(
    "notification_preferences",
    metadata,
    _generated_id(),
    _of("users", "user_id"),
    _of("customers", "customer_id"),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("email_address", sa.Text),
    sa.Column("job_types", pg.ARRAY(sa.Text)),
    _made(),
    _made("updated_at"),
    sa.UniqueConstraint("user_id", "customer_id", "event_type", name="uq_preference"),
    sa.Index("ix_preferences_audience", "customer_id", "event_type"),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    _generated_id(),
    _of("users", "user_id"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    _made(),
    sa.Column("expires_at", _Moment),
    sa.Column("last_used_at", _Moment),
    sa.Column("revoked_at", _Moment),
    sa.Index("ix_api_tokens_user", "user_id"),
)

_JOB_ID = (
    "CASE WHEN outcome <> 'ignored' THEN "
    "coalesce(payload #>> '{data,job,id}', payload #>> '{data,compliance_result,job_id}')::bigint END"
)
_COMPLIANCE_RESULT_ID = (
    "CASE WHEN outcome <> 'ignored' AND event_type = 'compliance_violation' "
    "THEN (payload #>> '{data,compliance_result,id}')::bigint END"
)

job_events = sa.Table(
    "job_events",
    metadata,
    _generated_id(),
    _of("customers", "customer_id", cascade=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("payload", pg.JSONB, nullable=False),
    sa.Column("payload_sha256", sa.LargeBinary, nullable=False),
    sa.Column("occurred_at", _Moment),
    _made("received_at"),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("decisions", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("job_id", sa.BigInteger, sa.Computed(_JOB_ID, persisted=True)),
    sa.Column("compliance_result_id", sa.BigInteger, sa.Computed(_COMPLIANCE_RESULT_ID, persisted=True)),
    sa.UniqueConstraint("customer_id", "source", "event_id", name="uq_job_event"),
    sa.UniqueConstraint("customer_id", "id", name="uq_job_event_customer"),
    sa.Index("ix_job_events_job", "job_id", postgresql_where=sa.text("job_id IS NOT NULL")),
    sa.Index("ix_job_events_received", "received_at"),
)

notification_events = sa.Table(
    "notification_events",
    metadata,
    _generated_id(),
    sa.Column("job_event_id", sa.BigInteger),
    _of("customers", "customer_id", cascade=False),
    sa.Column("user_id", sa.BigInteger),
    sa.Column("recipient_email", sa.Text, nullable=False),
    sa.Column("recipient_key", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("rule", sa.Text),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("error_message", sa.Text),
    sa.Column("failure_reason", sa.Text),
    sa.Column("job_id", sa.BigInteger),
    sa.Column("compliance_result_id", sa.BigInteger),
    sa.Column("message_id", sa.Text, nullable=False, unique=True),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    _made("next_attempt_at"),
    sa.Column("expires_at", _Moment, nullable=False),
    sa.Column("ambiguous_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("smtp_code", sa.Integer),
    sa.Column("smtp_enhanced_code", sa.Text),
    sa.Column("smtp_response", sa.Text),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resent_by", sa.Text),
    sa.Column("trace_id", sa.Text),
    _made(),
    sa.Column("sent_at", _Moment),
    sa.Column("finished_at", _Moment),
    sa.Column("server_id", sa.BigInteger),
    sa.Column("lock_token", sa.Uuid),
    sa.Column("locked_by", sa.Text),
    sa.Column("lease_until", _Moment),
    sa.Column("handoff_at", _Moment),
    sa.Column("lost_claims", sa.Integer, nullable=False, server_default="0"),
    sa.Column("expiry_reason", sa.Text),
    sa.Column("note", sa.Text),
    sa.ForeignKeyConstraint(["customer_id", "job_event_id"], ["job_events.customer_id", "job_events.id"]),
    sa.UniqueConstraint("job_event_id", "recipient_key", "generation", name="uq_notification"),
)

_log = notification_events.c
_pending = _log.status == sa.literal_column("'pending'")
_failed = _log.status == sa.literal_column("'failed'")
sa.Index("ix_due", _log.customer_id, _log.next_attempt_at, _log.id, postgresql_where=_pending)
sa.Index("ix_expiry", _log.expires_at, postgresql_where=_pending)
sa.Index("ix_log_customer", _log.customer_id, _log.created_at.desc(), _log.id.desc())
sa.Index("ix_log_sent", _log.customer_id, _log.sent_at.desc(), postgresql_where=_log.sent_at.is_not(None))
sa.Index("ix_log_created", _log.created_at.desc(), _log.id.desc())
sa.Index("ix_log_job", _log.job_id, postgresql_where=_log.job_id.is_not(None))
sa.Index(
    "ix_log_compliance", _log.compliance_result_id, postgresql_where=_log.compliance_result_id.is_not(None)
)
sa.Index("ix_log_failed", _log.finished_at.desc(), postgresql_where=_failed)

rejected_events = sa.Table(
    "rejected_events",
    metadata,
    _generated_id(),
    _made("received_at"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text),
    sa.Column("body_sha256", sa.LargeBinary, nullable=False),
    sa.Column("body_head", sa.LargeBinary, nullable=False),
    sa.Index("ix_rejected_body", "body_sha256"),
)
sa.Index("ix_rejected_received", rejected_events.c.received_at.desc())

delivery_lanes = sa.Table(
    "delivery_lanes",
    metadata,
    _of("customers", "customer_id", key=True),
    sa.Column("server_id", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("next_due_at", _Moment, nullable=False, server_default="infinity"),
    sa.Column("passed_over", sa.ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
    sa.Column("passed_over_until", _Moment, nullable=False, server_default="-infinity"),
    sa.Index("ix_lanes_due", "next_due_at"),
    sa.Index("ix_lanes_server", "server_id"),
)

delivery_batches = sa.Table(
    "delivery_batches",
    metadata,
    sa.Column("token", sa.Uuid, primary_key=True),
    sa.Column("server_id", sa.BigInteger, nullable=False),
    sa.Column("mails", sa.ARRAY(sa.BigInteger), nullable=False),
    sa.Column(
        "alive_until", _Moment, nullable=False, server_default=sa.text("now() + interval '30 seconds'")
    ),
    sa.Index("ix_batches_server", "server_id"),
)

smtp_breakers = sa.Table(
    "smtp_breakers",
    metadata,
    sa.Column("server_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("open_until", _Moment, nullable=False, server_default="-infinity"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
    sa.Column("trips", sa.Integer, nullable=False, server_default="0"),
    sa.Column("proven", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("settings_hash", sa.LargeBinary),
    sa.Column("last_error", sa.Text),
    sa.Column("last_reason", sa.Text),
    sa.Column("last_fault_at", _Moment),
)
