"""`/smtp/`: the customers' own mail servers. Everybody sees them masked, admins manage and test them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import structlog
from fastapi import APIRouter, Depends

from notifier.api.access import AdminOf, AuthenticatedRoute, Caller, CallerOf
from notifier.api.parts import TESTS_PER_MINUTE, Parts, PartsOf
from notifier.api.problems import too_many
from notifier.api.shapes import FORBIDDEN, NO_PAGE, NOT_FOUND, WRITE, IdFilter, IdInPath, Paging
from notifier.api.smtp_shapes import (
    SmtpConfig,
    SmtpConfigPage,
    SmtpCreate,
    SmtpPatch,
    SmtpReplace,
    TestMail,
    TestResult,
    TestStage,
    shown,
)
from notifier.domain.errors import InvalidInput, NotFound
from notifier.store import smtp_configs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from notifier.store.smtp_configs import StoredServer

router = APIRouter(prefix="/smtp", route_class=AuthenticatedRoute, tags=["SMTP configurations"])
log = structlog.get_logger(__name__)


@router.get("/", responses=NO_PAGE)
def list_smtp_configs(
    caller: CallerOf, parts: PartsOf, paging: Annotated[Paging, Depends()], customer: IdFilter = None
) -> SmtpConfigPage:
    """List SMTP configurations in the order of customers."""
    with parts.begin(caller.scope) as connection:
        found = smtp_configs.find(connection, customer_ids=caller.among(customer), part=paging.part)
    return SmtpConfigPage(**paging.fields(found), results=[shown(one) for one in found.items])


@router.post("/", status_code=201, responses=FORBIDDEN | WRITE)
def create_smtp_config(caller: AdminOf, parts: PartsOf, wanted: SmtpCreate) -> SmtpConfig:
    """Make the SMTP configuration of a customer who has none."""
    with parts.begin(caller.scope) as connection:
        saved = smtp_configs.add(
            connection, wanted.customer, wanted.change(), box=parts.box, writer=caller.writer
        )
    log.info("smtp_config_created", id=saved.server_id, customer_id=saved.customer_id, by=caller.username)
    return shown(saved)


@router.get("/{id}/", responses=NOT_FOUND)
def retrieve_smtp_config(row_id: IdInPath, caller: CallerOf, parts: PartsOf) -> SmtpConfig:
    """Show an SMTP configuration."""
    with parts.begin(caller.scope) as connection:
        return shown(_stored(connection, caller, row_id))


@router.put("/{id}/", responses=FORBIDDEN | NOT_FOUND | WRITE)
def replace_smtp_config(row_id: IdInPath, caller: AdminOf, parts: PartsOf, wanted: SmtpReplace) -> SmtpConfig:
    """Replace an SMTP configuration; a new host, port, encryption or authority asks for the password again."""
    return _change(row_id, caller, parts, wanted)


@router.patch("/{id}/", responses=FORBIDDEN | NOT_FOUND | WRITE)
def change_smtp_config(row_id: IdInPath, caller: AdminOf, parts: PartsOf, wanted: SmtpPatch) -> SmtpConfig:
    """Change some settings; a new host, port, encryption or authority asks for the password again."""
    return _change(row_id, caller, parts, wanted)


@router.delete("/{id}/", status_code=204, responses=FORBIDDEN | NOT_FOUND)
def delete_smtp_config(row_id: IdInPath, caller: AdminOf, parts: PartsOf) -> None:
    """Delete an SMTP configuration with its password: the installation's server serves from now on."""
    with parts.begin(caller.scope) as connection:
        stored = _stored(connection, caller, row_id)
        smtp_configs.delete(connection, stored.customer_id, server_id=row_id)
    log.info("smtp_config_deleted", id=row_id, customer_id=stored.customer_id, by=caller.username)


@router.post("/{id}/test_email/", responses=FORBIDDEN | NOT_FOUND | WRITE)
def send_test_email(row_id: IdInPath, caller: AdminOf, parts: PartsOf, wanted: TestMail) -> TestResult:
    """Send one real test mail as the worker would, and tell how each stage went. It is a row of the event log."""
    with parts.begin(caller.scope) as connection:
        customer_id = _stored(connection, caller, row_id).customer_id
    wait = parts.tests_per_user.spend(caller.user_id)
    if wait:
        text = f"a user may send {TESTS_PER_MINUTE} test mails in a minute; wait and try again"
        raise too_many(wait, text)
    if not parts.tests.acquire(blocking=False):
        raise too_many(10, "other test mails are being sent; try again in some seconds")
    try:
        tested = parts.server_test(caller.scope).run(
            customer_id,
            wanted.recipient_email,
            requested_by=caller.username,
            now=parts.now(),
            user_id=caller.user_id,
        )
    finally:
        parts.tests.release()
    return TestResult(
        id=tested.row_id,
        customer=customer_id,
        recipient_email=tested.recipient_email,
        status=tested.settlement.status,
        failure_reason=tested.settlement.failure_reason,
        stages=[
            TestStage(
                stage=one.name,
                ok=one.ok,
                kind=one.kind,
                code=one.code,
                cure=one.cure,
                seconds=None if one.seconds is None else round(one.seconds, 3),
            )
            for one in tested.stages
        ],
    )


def _change(row_id: int, caller: Caller, parts: Parts, wanted: SmtpReplace | SmtpPatch) -> SmtpConfig:
    with parts.begin(caller.scope) as connection:
        stored = _stored(connection, caller, row_id)
        if wanted.customer not in {None, stored.customer_id}:
            text = "an SMTP configuration stays with its customer; make another one for the other"
            raise InvalidInput({"customer": [text]})
        saved = smtp_configs.save(
            connection, stored.customer_id, wanted.change(), box=parts.box, server_id=row_id
        )
    log.info("smtp_config_changed", id=row_id, customer_id=saved.customer_id, by=caller.username)
    return shown(saved)


def _stored(connection: Connection, caller: Caller, row_id: int) -> StoredServer:
    stored = smtp_configs.read(connection, row_id, customer_ids=caller.customer_ids)
    if stored is None:
        msg = f"no SMTP configuration {row_id}"
        raise NotFound(msg)
    return stored
