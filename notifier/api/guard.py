"""Around every request: its size and time, HEAD, the security headers of the answer, one line in the log."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_SECONDS = 30.0  # for a whole request body
USER = "notifier.user_id"  # where access.py notes who asked, in the ASGI scope

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

log = structlog.get_logger(__name__)


class _TooLarge(Exception):
    """The body is over the limit."""


class Guard:
    """An ASGI application around another one. max_bytes limits request bodies."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of connections go through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        method = scope["method"]
        inner = {**scope, "method": "GET"} if method == "HEAD" else dict(scope)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._run(inner, receive, answer)
        except Exception:
            # The framework has answered 500 already; here it is told once, and the server goes on.
            log.exception("api_request_failed", method=method, **_place(inner))
        finally:
            log.info(
                "api_request",
                method=method,
                status=status,
                user_id=inner.get(USER),
                client=(scope.get("client") or ("",))[0],
                seconds=round(time.monotonic() - started, 4),
                **_place(inner),
            )

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        if {b"content-length", b"transfer-encoding"} <= dict(scope["headers"]).keys():  # RFC 9112 section 6.1
            text = "the request has Content-Length and Transfer-Encoding; send one of them"
            await _refuse(send, 400, text)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._body(scope, receive)
        except _TooLarge:
            text = f"the request is larger than {self._max_bytes} bytes (api.max_request_bytes); send less at once"
            await _refuse(send, 413, text)
            return
        except TimeoutError:
            await _refuse(send, 408, f"the request did not arrive within {BODY_SECONDS:.0f} seconds")
            return
        if body is None:  # who asked is gone
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise _TooLarge
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_bytes:
                raise _TooLarge
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the request is not read
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _place(scope: Scope) -> dict[str, object]:
    """Return the route and the ids in it; never the path itself, which may hold an unsubscribe token."""
    route = scope.get("route")
    ids = {f"path_{name}": value for name, value in scope.get("path_params", {}).items() if name == "id"}
    return {"route": getattr(route, "path", None), **ids}
