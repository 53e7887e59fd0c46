"""The customers' own mail servers. A password comes in plain only to be encrypted, and leaves encrypted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from notifier.domain.errors import InvalidInput, NotFound, SecretUnreadable, told_together
from notifier.domain.smtp_settings import SmtpChange, SmtpSettings, changed
from notifier.store.pages import Page, Slice, rows_and_total
from notifier.store.tables import customers
from notifier.store.tables import smtp_configs as servers

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.preferences import Writer
    from notifier.encryption import SecretBox

_MAX_TOKEN = 8000  # CHECK of the column


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredServer:
    """A row of smtp_configs. `password` is the encrypted token; `version` changes with the row."""

    server_id: int
    customer_id: int
    customer_name: str
    host: str
    port: int
    use_tls: bool
    use_ssl: bool
    username: str | None
    password: str | None = field(repr=False)
    from_email: str
    reply_to_email: str | None
    enabled: bool
    ca_certificate: str | None = field(repr=False)
    allow_plaintext_auth: bool
    version: str
    created_at: datetime
    updated_at: datetime

    @property
    def settings(self) -> SmtpSettings:
        """Without password, ids and times."""
        return SmtpSettings(**{f.name: getattr(self, f.name) for f in fields(SmtpSettings)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """How many passwords were encrypted anew, and for which customers that was impossible, with the cause."""

    rotated: int
    unreadable: dict[int, str]


_COMPUTED: dict[str, sa.ColumnElement[Any]] = {
    "server_id": servers.c.id.label("server_id"),
    "customer_name": customers.c.name.label("customer_name"),
    "version": sa.cast(servers.c.updated_at, sa.Text).label("version"),  # as claim_batch's config_version
}
_COLUMNS: list[sa.ColumnElement[Any]] = [
    _COMPUTED[f.name] if f.name in _COMPUTED else servers.c[f.name] for f in fields(StoredServer)
]
_ROWS: sa.Select[Any] = sa.select(*_COLUMNS).join_from(
    servers, customers, customers.c.id == servers.c.customer_id
)


def _stored(row: sa.Row[Any]) -> StoredServer:
    return StoredServer(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def find(
    connection: Connection,
    *,
    customer_ids: tuple[int, ...] | None = None,
    part: Slice = Slice(),  # noqa: B008 - frozen
) -> Page[StoredServer]:
    """Return one page of the servers, of these customers if given, in the order of customers."""
    query = _of(_ROWS.order_by(servers.c.customer_id), customer_ids)
    rows, total = rows_and_total(connection, query, part)
    return Page(items=tuple(_stored(row) for row in rows), total=total)


def with_password(connection: Connection, *, limit: int) -> tuple[StoredServer, ...]:
    """Return some of the servers that have a stored password, at most `limit`."""
    rows = connection.execute(_ROWS.where(servers.c.password.is_not(None)).limit(limit))
    return tuple(_stored(row) for row in rows)


def read(
    connection: Connection, server_id: int, *, customer_ids: tuple[int, ...] | None = None
) -> StoredServer | None:
    """Return the server of this id, of these customers if given; None when there is none."""
    row = connection.execute(_of(_ROWS.where(servers.c.id == server_id), customer_ids)).one_or_none()
    return None if row is None else _stored(row)


def _of(query: sa.Select[Any], customer_ids: tuple[int, ...] | None) -> sa.Select[Any]:
    if customer_ids is None:
        return query
    wanted = sa.any_(sa.literal(list(customer_ids), sa.ARRAY(sa.BigInteger)))
    return query.where(servers.c.customer_id == wanted)


def of_customer(connection: Connection, customer_id: int) -> StoredServer | None:
    """Return the customer's own server; None without one: then the [smtp] section serves."""
    row = connection.execute(_ROWS.where(servers.c.customer_id == customer_id)).one_or_none()
    return None if row is None else _stored(row)


def get(connection: Connection, customer_id: int) -> StoredServer:
    """Return the customer's own server. Raises NotFound."""
    server = of_customer(connection, customer_id)
    if server is None:
        msg = (
            f"customer {customer_id} has no SMTP configuration; make one with notifier smtp set {customer_id}"
        )
        raise NotFound(msg)
    return server


def add(
    connection: Connection, customer_id: int, change: SmtpChange, *, box: SecretBox, writer: Writer
) -> StoredServer:
    """Make the server of a customer of the writer's who has none.

    Raises as `save`, and InvalidInput for another customer or one who has a server, with all other faults.
    """
    told_together(
        lambda: _check_has_none(connection, customer_id, writer),
        lambda: changed(None, change, has_password=False),
    )
    return save(connection, customer_id, change, box=box)


def _check_has_none(connection: Connection, customer_id: int, writer: Writer) -> None:
    writer.check_customer(customer_id)
    _lock_customer(connection, customer_id)
    stored = of_customer(connection, customer_id)
    if stored is not None:
        text = f"has an SMTP configuration already, {stored.server_id}; change that one"
        raise InvalidInput({"customer_id": [text]})


def save(
    connection: Connection,
    customer_id: int,
    change: SmtpChange,
    *,
    box: SecretBox,
    server_id: int | None = None,
) -> StoredServer:
    """Make or change the customer's server, under the rules of `domain.smtp_settings`.

    With server_id it changes that one only. The server is tried again at once (the trigger follow_smtp_config closes
    its breaker). Raises InvalidInput, NotFound for an unknown customer or another server, ConfigurationError for a
    password when there is no key.
    """
    _lock_customer(connection, customer_id)
    stored = of_customer(connection, customer_id)
    if server_id is not None:
        _check_same(stored, server_id)
    has_password = stored is not None and bool(stored.password)
    settings = changed(stored.settings if stored else None, change, has_password=has_password)
    values: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    password = change.new_password
    if password is None:
        values["password"] = None
    elif isinstance(password, str):
        values["password"] = _encrypted(box, customer_id=customer_id, host=settings.host, password=password)
    if stored is None:
        connection.execute(sa.insert(servers).values(customer_id=customer_id, **values))
    else:
        connection.execute(sa.update(servers).where(servers.c.id == stored.server_id).values(**values))
    return get(connection, customer_id)


def _lock_customer(connection: Connection, customer_id: int) -> None:
    """Make two writers of one customer's server wait for each other. Raises NotFound.

    An advisory lock: the admin role may not lock rows of customers.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, sa.func.hashint8(customer_id))))
    if connection.execute(sa.select(customers.c.id).where(customers.c.id == customer_id)).first() is None:
        msg = f"there is no customer {customer_id}; the platform writes the table customers"
        raise NotFound(msg)


_LOCK = 0x534D5450  # the first half of the advisory lock's key; the second is made of the customer


def _encrypted(box: SecretBox, *, customer_id: int, host: str, password: str) -> str:
    token = box.encrypt(customer_id=customer_id, host=host, password=password)
    if len(token) > _MAX_TOKEN:
        raise InvalidInput({"password": ["is too long to be stored"]})
    return token


def delete(connection: Connection, customer_id: int, *, server_id: int | None = None) -> None:
    """Delete the customer's server, with server_id that one only: the [smtp] section serves from now on.

    Raises NotFound.
    """
    _lock_customer(connection, customer_id)
    stored = of_customer(connection, customer_id)
    if server_id is not None:
        _check_same(stored, server_id)
    if stored is None:
        msg = f"customer {customer_id} has no SMTP configuration; notifier smtp list shows those there are"
        raise NotFound(msg)
    connection.execute(sa.delete(servers).where(servers.c.id == stored.server_id))


def _check_same(stored: StoredServer | None, server_id: int) -> None:
    if stored is None or stored.server_id != server_id:
        msg = f"the SMTP configuration {server_id} was deleted a moment ago"
        raise NotFound(msg)


def rotate(
    connection: Connection, box: SecretBox, *, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Rotation:
    """Encrypt anew, with the newest key, every password that is not; unreadable ones are left and reported.

    Safe beside other writers: a password that was changed meanwhile is not touched. `progress` gets how many
    rows were looked at, and how many there are.
    """
    query = sa.select(servers.c.id, servers.c.customer_id, servers.c.host, servers.c.password)
    rows = connection.execute(query.where(servers.c.password.is_not(None)).order_by(servers.c.id)).all()
    rotated = 0
    unreadable: dict[int, str] = {}
    for position, row in enumerate(rows, start=1):
        if box.needs_rotation(row.password):
            try:
                token = box.rotate(customer_id=row.customer_id, host=row.host, token=row.password)
            except SecretUnreadable as exc:
                unreadable[row.customer_id] = str(exc)
            else:
                unchanged = sa.and_(servers.c.id == row.id, servers.c.password == row.password)
                rotated += connection.execute(
                    sa.update(servers).where(unchanged).values(password=token)
                ).rowcount
        progress(position, len(rows))
    return Rotation(rotated=rotated, unreadable=unreadable)
