"""The template sets of customers: who has one, what is in it, and its rendering in the workshop."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import IO, TYPE_CHECKING

from notifier.domain.errors import ConfigurationError, RenderError
from notifier.domain.mail import UNSUBSCRIBE_PLACEHOLDER
from notifier.domain.vocabulary import MAIL_TYPES
from notifier.rendering import brand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from notifier.rendering.brand import Brand
    from notifier.rendering.site import Site

_ANSWER_SECONDS = 2.0  # the workshop's own limit is lower; this one is for a workshop that hangs or died
_START_SECONDS = 20.0
_SET_ASIDE_SECONDS = 60.0
_MAX_HTML = 102_000  # octets; Gmail cuts a mail there
_MAX_TEXT = 64_000
_BODY_FILES = frozenset({"body.html", "body.txt"})
_SHARED_FILES = re.compile(r"layout/[a-z_]+\.(?:html|txt)|styles\.css|dark\.css")
_FOREIGN_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SCHEMES = ("https://", "http://", "mailto:", "tel:", "#")


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomerSet:
    """One customer's folder as it was read: the brand, and which mails have templates of their own."""

    folder: Path
    signature: tuple[tuple[str, int, int], ...]
    brand: Brand
    problem: str | None
    mail_types: frozenset[str]


class CustomerSets:
    """All customers' folders below `templates/customers`. Safe to share between threads."""

    def __init__(self, templates: Path, site: Site, clock: Callable[[], float] = time.monotonic) -> None:
        self._templates = templates
        self._root = templates / "customers"
        self._site = site
        self._clock = clock
        self._sets: dict[int, CustomerSet] = {}
        self._aside: dict[tuple[int, str], tuple[object, float, str]] = {}
        self._workshop = Workshop()
        if any(own.mail_types for folder in self.folders() if (own := self._named(folder))):
            self._workshop.start()

    def folders(self) -> list[Path]:
        """Return every customer's folder, and whatever else lies beside them."""
        return sorted(self._root.iterdir()) if self._root.is_dir() else []

    def of(self, customer_id: int) -> CustomerSet | None:
        """Return a customer's set, read again when a file in it changed; None when there is no folder."""
        folder = self._root / str(customer_id)
        signature = _signature(folder)
        if signature is None:
            return None
        known = self._sets.get(customer_id)
        if known is None or known.signature != signature:
            known = _read(folder, signature)
            self._sets[customer_id] = known
        return known

    def _named(self, folder: Path) -> CustomerSet | None:
        return self.of(int(folder.name)) if folder.name.isdigit() and folder.name.isascii() else None

    def render(
        self,
        customer_id: int,
        own: CustomerSet,
        mail_type: str,
        *,
        theme: Mapping[str, str],
        context: Mapping[str, object],
        language: str,
    ) -> tuple[str, str]:
        """Return text and HTML by the customer's own templates.

        Raises RenderError naming the fault. A template that broke a limit is not tried again for a minute,
        unless it was changed: a queue of mails must not wait two seconds for each.
        """
        place = (customer_id, mail_type)
        signature, until, reason = self._aside.get(place, (None, 0.0, ""))
        if signature == own.signature and self._clock() < until:
            raise RenderError(reason)
        request = {
            "templates": str(self._templates),
            "folders": [str(own.folder), str(self._templates)],
            "site": {
                "product": self._site.product,
                "environment": self._site.environment,
                "base_url": self._site.base_url,
                "links": dict(self._site.links),
            },
            "mail_type": mail_type,
            "theme": dict(theme),
            "context": dict(context),
            "language": language,
        }
        answer = self._workshop.ask(request)
        if "error" in answer:
            reason = f"the templates of customer {customer_id} for {mail_type}: {answer['error']}"
            if answer.get("limit"):
                self._aside[place] = (own.signature, self._clock() + _SET_ASIDE_SECONDS, reason)
            raise RenderError(reason)
        text, html = str(answer["text"]), str(answer["html"])
        faults = faults_of(text, html, unsubscribe=bool(context.get("unsubscribe")))
        if faults:
            raise RenderError(f"the templates of customer {customer_id} for {mail_type}: {'; '.join(faults)}")
        return text, html

    def close(self) -> None:
        """End the workshop's process."""
        self._workshop.close()


class Workshop:
    """The other end of `notifier.rendering.workshop`: one process, one request at a time, started when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_answered = False
        self._finalizer: weakref.finalize[[subprocess.Popen[bytes]], Workshop] | None = None

    def ask(self, request: Mapping[str, object]) -> dict[str, object]:
        """Return the answer to one request; a workshop that hangs or died is an answer too."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            try:
                stdin, stdout = self._pipes()
                stdin.write(line)
                stdin.flush()
                limit = _ANSWER_SECONDS if self._has_answered else _START_SECONDS
                answer: dict[str, object] = json.loads(_line(stdout, time.monotonic() + limit))
            except (OSError, ValueError) as exc:
                self._stop()
                return {"error": f"the process for customers' templates ended ({exc})", "limit": True}
            self._has_answered = True
            return answer

    def start(self) -> None:
        """Start the process ahead of the first request, which then need not wait for it."""
        with self._lock:
            self._pipes()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._stop()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return the process's input and output, of a new process if there is none."""
        process = self._process
        if process is None or process.poll() is not None:
            self._stop()
            process = self._start()
        if process.stdin is None or process.stdout is None:
            raise BrokenPipeError("it has no pipes")
        return process.stdin, process.stdout

    def _start(self) -> subprocess.Popen[bytes]:
        # No secret of ours reaches it: neither the environment nor an open file but its own pipes.
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "notifier.rendering.workshop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        return self._process

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None
        self._has_answered = False


def faults_of(text: str, html: str, *, unsubscribe: bool) -> list[str]:
    """Return what makes a customer's mail unfit to be sent."""
    faults = []
    if not text.strip() or "<html" not in html:
        faults.append("the text or the HTML is empty")
    if len(html.encode()) > _MAX_HTML or len(text.encode()) > _MAX_TEXT:
        faults.append(f"the mail is larger than {_MAX_HTML} octets of HTML or {_MAX_TEXT} of text")
    if unsubscribe and not (UNSUBSCRIBE_PLACEHOLDER in text and UNSUBSCRIBE_PLACEHOLDER in html):
        faults.append("the unsubscribe link is missing in the text or the HTML; include layout/foot")
    if any(_FOREIGN_CONTROLS.search(part.replace(UNSUBSCRIBE_PLACEHOLDER, "")) for part in (text, html)):
        faults.append("the mail has control characters")
    links = _Links()
    links.feed(html)
    faults += [f"{fault} does not belong into a mail" for fault in links.faults[:3]]
    return faults


class _Links(HTMLParser):
    """Finds active content and links to anything but web pages, mail addresses and telephones."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "form", "base"):
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name.startswith("on"):
                self.faults.append(f"the attribute {name}")
            elif name in ("href", "src", "background") and not (
                address.startswith((*_SCHEMES, UNSUBSCRIBE_PLACEHOLDER, "data:image/"))
            ):
                self.faults.append(f"a link to {address[:40]!r}")


def _signature(folder: Path) -> tuple[tuple[str, int, int], ...] | None:
    """Return name, size and time of every file of a set; None when there is no folder."""
    if not folder.is_dir():
        return None
    found = []
    for path in folder.rglob("*"):
        try:
            stat = path.stat()
        except OSError:  # gone since it was listed
            continue
        if path.is_file():
            found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def _read(folder: Path, signature: tuple[tuple[str, int, int], ...]) -> CustomerSet:
    names = [name for name, _, _ in signature]
    own, problem = brand.PLAIN, None
    if brand.FILE in names:
        try:
            own = brand.read(folder / brand.FILE)
        except ConfigurationError as exc:
            problem = str(exc)
    shared = any(_SHARED_FILES.fullmatch(name) for name in names)
    mail_types = frozenset(
        mail_type
        for mail_type in MAIL_TYPES
        if shared
        or any(name.partition("/") == (mail_type, "/", file) for name in names for file in _BODY_FILES)
    )
    return CustomerSet(folder=folder, signature=signature, brand=own, problem=problem, mail_types=mail_types)


def stray_files(own: CustomerSet) -> list[str]:
    """Return the files of a set that no mail uses: most likely misspelt."""
    known = {f"{mail_type}/{file}" for mail_type in MAIL_TYPES for file in _BODY_FILES} | {brand.FILE}
    return [
        name
        for name, _, _ in own.signature
        if name not in known and not _SHARED_FILES.fullmatch(name) and not name.endswith(".md")
    ]


def _line(source: IO[bytes], deadline: float) -> bytes:
    """Read one line. Raises TimeoutError or EOFError (an OSError and a ValueError to the caller)."""
    found = bytearray()
    while not found.endswith(b"\n"):
        ready, _, _ = select.select([source], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError("no answer in time")
        chunk = os.read(source.fileno(), 65_536)
        if not chunk:
            raise ConnectionError("no answer")
        found += chunk
    return bytes(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a workshop: it stops by itself when its input ends."""
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()
