"""Who is asking, and what they may see and do: tokens, roles, the scope of customers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from notifier.api.guard import USER
from notifier.api.problems import Refusal, too_many
from notifier.api.rate_limits import address_key
from notifier.bearer_tokens import token_hash
from notifier.domain.preferences import Writer
from notifier.store import api_tokens
from notifier.store.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Response

    from notifier.api.parts import Parts
    from notifier.domain.vocabulary import Role

MAX_TOKEN = 200  # characters

_SCHEME = HTTPBearer(
    auto_error=False, description="A token of `notifier tokens create`, with the rights of its user."
)
_CURE = "send Authorization: Bearer TOKEN with a token of `notifier tokens create`"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A user with a valid token. `customer_ids`: what the user has access to; everything is limited to it."""

    user_id: int
    username: str
    role: Role
    customer_ids: tuple[int, ...]

    @property
    def is_admin(self) -> bool:
        """Whether the user manages the customers."""
        return self.role == "admin"

    @property
    def scope(self) -> Scope:
        """What the database lets the request see."""
        return Scope(customer_ids=self.customer_ids, user_id=self.user_id)

    @property
    def only_user(self) -> int | None:
        """Whose preferences the caller manages: None means all of the customers."""
        return None if self.is_admin else self.user_id

    @property
    def writer(self) -> Writer:
        """Whose preferences the caller may write."""
        return Writer(customer_ids=frozenset(self.customer_ids), only_user=self.only_user)

    def among(self, customer_id: int | None) -> tuple[int, ...]:
        """Return the customers a filter leaves of the caller's own."""
        if customer_id is None:
            return self.customer_ids
        return (customer_id,) if customer_id in self.customer_ids else ()


class AuthenticatedRoute(APIRoute):
    """Knows who asks before it reads what is asked: without a valid token nothing of the body is looked at."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler with the authentication before it."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            request.state.caller = await run_in_threadpool(_authenticated, request)
            return await handle(request)

        return handler


def _authenticated(request: Request) -> Caller:
    parts: Parts = request.app.state.parts
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    hashed = token_hash(token)
    address = address_key(request.client.host if request.client else "")
    refuse_failing(parts, address, unless=hashed)
    bearer = None
    if token and len(token) <= MAX_TOKEN:
        with parts.begin(Scope(token_hash=hashed)) as connection:
            bearer = api_tokens.bearer(connection, hashed)
    if bearer is None:
        parts.failures.take(address)
        parts.per_token.forget(hashed)  # it may have been good before
        log.warning("api_authentication_failed", client=address)
        why = "the token is unknown, expired or revoked" if token else "the request has no token"
        raise Refusal(401, f"{why}; {_CURE}", {"WWW-Authenticate": "Bearer"})
    wait = parts.per_token.spend(hashed)
    if wait:
        limit = parts.settings.api.requests_per_minute
        raise too_many(wait, f"a token may make {limit} requests in a minute; wait and go on more slowly")
    request.scope[USER] = bearer.user_id
    return Caller(
        user_id=bearer.user_id,
        username=bearer.username,
        role=bearer.role,
        customer_ids=bearer.customer_ids,
    )


def refuse_failing(parts: Parts, address: str, *, unless: bytes | None = None) -> None:
    """Refuse an address that failed too often. Tokens accepted of late pass: others may share the address."""
    wait = parts.failures.wait(address)
    if wait and (unless is None or not parts.per_token.knows(unless)):
        raise too_many(wait, "too many failed authentications from this address; wait and check the token")


async def _caller(request: Request, _scheme: Annotated[object, Depends(_SCHEME)]) -> Caller:
    caller: Caller = request.state.caller  # the route's doing; the scheme is for the document
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]


async def _admin(caller: CallerOf) -> Caller:
    if not caller.is_admin:
        text = f"only admins may do this, and the role of {caller.username} is {caller.role}"
        raise Refusal(403, text)
    return caller


AdminOf = Annotated[Caller, Depends(_admin)]
