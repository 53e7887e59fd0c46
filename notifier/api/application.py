"""The application: every endpoint under its prefix, the guard around them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse

from notifier.api import (
    event_routes,
    job_event_routes,
    openapi,
    preference_routes,
    problems,
    smtp_routes,
    unsubscribe_routes,
)
from notifier.api.documentation import documentation
from notifier.api.guard import Guard
from notifier.api.parts import PartsOf
from notifier.api.shapes import COMMON
from notifier.store.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi.routing import APIRoute

    from notifier.api.parts import Parts

PREFIX = "/api/v1/notifications"
THREADS = 16  # requests at once; as many database connections


class _Api(FastAPI):
    """The framework's application with our OpenAPI document."""

    @cached_property
    def _document(self) -> dict[str, Any]:
        return openapi.document(self)

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        return self._document


@asynccontextmanager
async def _threads(_app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def application(parts: Parts) -> Guard:
    """Return what a server serves."""
    app = endpoints()
    app.state.parts = parts
    return Guard(app, max_bytes=parts.settings.api.max_request_bytes)


def endpoints() -> FastAPI:
    """Return the endpoints without anything to work with: enough for their OpenAPI document.

    No redirect to the path with its slash: it would have a client send a password again, to an address it did not
    choose; the answer 404 names the slash instead.
    """
    app = _Api(
        title="notifier",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        lifespan=_threads,
    )
    api = APIRouter(prefix=PREFIX, responses=COMMON)
    for module in (smtp_routes, preference_routes, event_routes, job_event_routes):
        api.include_router(module.router)
    app.include_router(api)
    app.include_router(unsubscribe_routes.router)
    app.include_router(_pages)
    problems.install(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


_pages = APIRouter(include_in_schema=False)


@_pages.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Show the documentation."""
    return documentation(request.app.openapi())


@_pages.get("/livez")
async def livez() -> PlainTextResponse:
    """Answer as long as requests are served, also while every thread waits for the database."""
    return PlainTextResponse("ok\n")


@_pages.get("/readyz")
def readyz(parts: PartsOf) -> PlainTextResponse:
    """Answer 200 with a database, 503 without."""
    with parts.begin(Scope()) as connection:
        connection.exec_driver_sql("SELECT 1")
    return PlainTextResponse("ok\n")
