"""SMTP configurations as they are sent and answered (docs/api.md). A password goes in, and never out."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

from pydantic import Field, ValidationError, model_validator

from notifier.api.problems import field_problems
from notifier.api.shapes import Answer, Body, Id, PageOf, PatchBody, Pem, Text
from notifier.domain.errors import InvalidInput
from notifier.domain.smtp_settings import MASK, MAX_PORT, SmtpChange, changed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ModelWrapValidatorHandler

    from notifier.store.smtp_configs import StoredServer

_PASSWORD = "Absent, empty or ******** keeps the stored one, null removes it. It is stored encrypted."  # noqa: S105

Port = Annotated[int, Field(ge=1, le=MAX_PORT, description="587 with use_tls, 465 with use_ssl.")]
UseTls = Annotated[bool, Field(description="STARTTLS, required; default true unless use_ssl is.")]
UseSsl = Annotated[bool, Field(description="TLS from the first byte; never together with use_tls.")]
Password = Annotated[Text | None, Field(description=_PASSWORD)]
Reply = Annotated[Text | None, Field(description="Address for replies; null: the sender.")]
Enabled = Annotated[bool, Field(description="false: the customer gets no mail at all.")]
Ca = Annotated[Pem | None, Field(description="PEM of a private authority to trust as well.")]
Plaintext = Annotated[bool, Field(description="Let the password travel without TLS; for closed networks.")]


def _faults_by_rule(given: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Return what the rules have against these settings; what others are missing is not told."""
    try:
        changed(None, SmtpChange(**given), has_password=False)
    except InvalidInput as exc:
        return {name: texts for name, texts in exc.problems.items() if name in given}
    return {}


class _SmtpBody(Body):
    """A body that tells the faults of its form and those by the rules at once."""

    @model_validator(mode="wrap")
    @classmethod
    def _tell_all(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - not checked yet
        try:
            return read(value)
        except ValidationError as exc:
            if not isinstance(value, dict):
                raise
            problems = cast("dict[str, Sequence[str]]", field_problems(exc.errors()))  # an object's: by field
            rest = {f.name for f in fields(SmtpChange)} - set(problems)
            problems |= _faults_by_rule({name: value[name] for name in rest & set(value)})
            raise InvalidInput(problems) from exc


class SmtpWrite(_SmtpBody):
    """A whole SMTP configuration: what is left out gets its default, only the password is kept."""

    read_only: ClassVar[frozenset[str]] = Body.read_only | {"customer_name"}

    host: Text
    port: Port = 587
    use_tls: UseTls = True
    use_ssl: UseSsl = False
    username: Text | None = None
    password: Password = MASK
    from_email: Text
    reply_to_email: Reply = None
    enabled: Enabled = True
    ca_certificate: Ca = None
    allow_plaintext_auth: Plaintext = False

    def change(self) -> SmtpChange:
        """Return what is wanted of every setting."""
        values = {f.name: getattr(self, f.name) for f in fields(SmtpChange)}
        if self.use_ssl and "use_tls" not in self.model_fields_set:
            values["use_tls"] = False
        return SmtpChange(**values)


class SmtpCreate(SmtpWrite):
    """A new SMTP configuration of a customer who has none."""

    customer: Id


class SmtpReplace(SmtpWrite):
    """A whole SMTP configuration in place of the stored one. It stays with its customer."""

    customer: Id | None = None


class SmtpPatch(_SmtpBody, PatchBody):
    """Some settings of an SMTP configuration; what is left out stays."""

    read_only: ClassVar[frozenset[str]] = SmtpWrite.read_only

    customer: Id | None = None
    host: Text = ""
    port: Port = 587
    use_tls: UseTls = True
    use_ssl: UseSsl = False
    username: Text | None = None
    password: Password = MASK
    from_email: Text = ""
    reply_to_email: Reply = None
    enabled: Enabled = True
    ca_certificate: Ca = None
    allow_plaintext_auth: Plaintext = False

    def change(self) -> SmtpChange:
        """Return what is wanted of the settings that were sent."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"customer"}}
        return SmtpChange(**given)


class SmtpConfig(Answer):
    """A customer's SMTP configuration."""

    id: int
    customer: int
    customer_name: str
    host: str
    port: int
    use_tls: bool
    use_ssl: bool
    username: str | None
    password: str | None = Field(description="******** or null, never the password.")
    from_email: str
    reply_to_email: str | None
    enabled: bool
    ca_certificate: str | None
    allow_plaintext_auth: bool
    created_at: datetime
    updated_at: datetime


class SmtpConfigPage(PageOf[SmtpConfig]):
    """One page of SMTP configurations."""


def shown(server: StoredServer) -> SmtpConfig:
    """Return a server as it may be seen."""
    same: dict[str, Any] = {
        name: getattr(server, name)
        for name in SmtpConfig.model_fields
        if name not in {"id", "customer", "password"}
    }
    password = MASK if server.password else None
    return SmtpConfig(id=server.server_id, customer=server.customer_id, password=password, **same)


class TestMail(Body):
    """Whom the test mail goes to."""

    recipient_email: Text


class TestStage(Answer):
    """One stage of the test. Answers of the server are not repeated: only their class and code."""

    stage: str = Field(description="CONFIG, DNS, TCP, TLS, AUTH, MAIL, RCPT or DATA.")
    ok: bool
    kind: str | None = Field(description="Class of the failure, such as transient or permanent.")
    code: int | None = Field(description="Reply code of the server (RFC 5321).")
    cure: str | None
    seconds: float | None


class TestResult(Answer):
    """What became of the test mail; `id` is its row in the event log."""

    id: int
    customer: int
    recipient_email: str
    status: str = Field(description="sent or failed.")
    failure_reason: str | None
    stages: list[TestStage]
