"""The inbox's web page: a list of mails, and each mail as HTML, text, headers and source."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from notifier.sandbox.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifier.sandbox.stored_mail import StoredMail

_VIEWS = (("html", "HTML"), ("text", "Text"), ("headers", "Headers"), ("source", "Source"))
_MAIL_PATH = re.compile(r"/mail/([0-9]{1,9})(?:/(html|text|headers|source|body))?")
_PAGES = Path(__file__).resolve().parent / "pages"
_BODY_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


class Pages:
    """Turns mails into pages. Everything foreign is escaped; a mail's HTML is only served for a sandbox."""

    def __init__(self, smtp_address: str) -> None:
        style = (_PAGES / "style.css").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; frame-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self._environment = Environment(
            loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._environment.globals.update(
            style=Markup(style),  # noqa: S704 - our own file
            smtp_address=smtp_address,
            views=_VIEWS,
        )

    def answer(self, path: str, mails: Sequence[StoredMail]) -> tuple[HTTPStatus, str, str]:
        """Return status, content security policy and the HTML page for a path."""
        if path == "/":
            page = self._environment.get_template("list.html").render(mails=tuple(reversed(mails)))
            return HTTPStatus.OK, self.policy, page
        match = _MAIL_PATH.fullmatch(path)
        mail = next((mail for mail in mails if match and mail.number == int(match[1])), None)
        if match is None or mail is None:
            return (
                HTTPStatus.NOT_FOUND,
                self.policy,
                "<!doctype html><title>Not found</title><p>There is no such mail.",
            )
        view = match[2] or "html"
        if view == "body":
            return HTTPStatus.OK, _BODY_POLICY, mail.html or ""
        return (
            HTTPStatus.OK,
            self.policy,
            self._environment.get_template("mail.html").render(mail=mail, view=view),
        )


class InboxWeb:
    """Serves the pages on the loopback address until closed. `mails` is asked on every request."""

    def __init__(self, mails: Callable[[], Sequence[StoredMail]], *, port: int, smtp_address: str) -> None:
        pages = Pages(smtp_address)

        class Handler(_Handler):
            def respond(self, path: str) -> tuple[HTTPStatus, str, str]:
                return pages.answer(path, mails())

        self._server = ThreadingHTTPServer((LOOPBACK, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="inbox-web", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{LOOPBACK}:{self.port}/"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD; anything else is 501 by the standard library."""

    server_version = "inbox"
    sys_version = ""
    wbufsize = -1  # headers and body in one write, or Nagle's algorithm delays every answer
    timeout = 10

    def respond(self, path: str) -> tuple[HTTPStatus, str, str]:
        """Return status, content security policy and page."""
        raise NotImplementedError  # each kind of page has a handler of its own

    def do_GET(self) -> None:
        """Answer one request."""
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if host not in {
            LOOPBACK,
            "localhost",
        }:  # another name that points here: a foreign page reading our mails
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        status, policy, page = self.respond(urlsplit(self.path).path)
        body = page.encode("utf-8", "replace")
        self.send_response(status)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is the standard library's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's signature
        """Nothing: the page is a looking glass, not a service."""
