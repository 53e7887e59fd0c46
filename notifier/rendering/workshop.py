"""Renders customers' own templates in a process of their own, within limits of time, memory and output (B43-B46).

`python -m notifier.rendering.workshop` reads one request per line on standard input (JSON) and answers each with
one line on standard output. For every request it forks: the copy reads the templates, limits itself, compiles and
renders, and ends; whatever a template does to it, the workshop and the worker live on. Constant expressions run when
a template is compiled, so compiling happens in the copy too. From then on the copy can open no file and no socket.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from jinja2 import TemplateError

from notifier.domain.errors import ConfigurationError, RenderError
from notifier.rendering import language as languages
from notifier.rendering.compose import Sources, inlined, pages
from notifier.rendering.engine import compile_pages, environment
from notifier.rendering.site import Site
from notifier.rendering.themes import THEMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.rendering.language import Language

SECONDS = 1.5  # wall clock of one rendering; with the way there and back below two
_CPU_SECONDS = 2
_MEMORY = 512 * 1024 * 1024
_OUTPUT = 512 * 1024
_CHUNK = 64 * 1024
TOO_SLOW = f"took longer than {SECONDS} s"
TOO_LONG = f"wrote more than {_OUTPUT // 1024} KiB"


def main() -> None:
    """Serve requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    known: dict[str, Mapping[str, Language]] = {}
    for line in sys.stdin.buffer:
        request = json.loads(line)
        directory = request["templates"]
        if directory not in known:
            known[directory] = languages.load(Path(directory) / "locale")
            _warm_up(Path(directory))
        answer = _supervised(request, known[directory])
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


def _warm_up(templates: Path) -> None:
    """Compile a built-in mail and break two templates: what libraries load on first use is there for every copy."""
    with suppress(ConfigurationError):
        joined = pages(Sources("test", (templates,)), THEMES["test"])
        compile_pages("test", inlined(joined), lambda _: False)
    for broken in ("{{ nothing }}", "{{"):
        with suppress(TemplateError):
            environment(html=True, is_safe=lambda _: False).from_string(broken).render()


def _supervised(request: dict[str, object], known: Mapping[str, Language]) -> dict[str, object]:
    """Render in a copy of this process; return its answer, or what became of it."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        _render_and_exit(request, known, writable)
    os.close(writable)
    with os.fdopen(readable, "rb", buffering=0) as source:
        output, fault = _read(source, time.monotonic() + SECONDS)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if fault:
        return {"error": fault, "limit": True}
    try:
        answer: dict[str, object] = json.loads(output)
    except ValueError:
        ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "an early end"
        return {"error": f"used up its time or memory ({ended})", "limit": True}
    return answer


def _read(source: BinaryIO, deadline: float) -> tuple[bytes, str | None]:
    """Read until the end; return what was read and why it was stopped, if it was."""
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = source.read(_CHUNK)
            if not chunk:
                return bytes(found), None
            found += chunk
            if len(found) > _OUTPUT:
                return b"", TOO_LONG
    return b"", TOO_SLOW


def _render_and_exit(request: dict[str, object], known: Mapping[str, Language], target: int) -> NoReturn:
    """Be the copy: limit, render, answer, and end whatever happens, running nothing of the original."""
    try:
        os.close(sys.stdin.fileno())  # the requests and answers of others are none of its business
        os.close(sys.stdout.fileno())
        answer = json.dumps(_limited(request, known)).encode()
        with os.fdopen(target, "wb", buffering=0) as pipe:
            rest = memoryview(answer)
            while rest:
                rest = rest[pipe.write(rest) :]
    finally:
        os._exit(0)


def _limited(request: dict[str, object], known: Mapping[str, Language]) -> dict[str, object]:
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as exc:
        return {"error": f"their process may not limit itself ({exc}); allow setrlimit and prlimit64"}
    try:
        return _rendered(request, known)
    except MemoryError:
        return {"error": "used more memory than it may", "limit": True}
    except (RenderError, ConfigurationError, RecursionError, OverflowError) as exc:
        return {"error": str(exc)[:500]}


def _rendered(request: dict[str, object], known: Mapping[str, Language]) -> dict[str, object]:
    mail_type, context, theme = request["mail_type"], request["context"], request["theme"]
    folders, site = request["folders"], request["site"]
    if not (
        isinstance(mail_type, str)
        and isinstance(context, dict)
        and isinstance(theme, dict)
        and isinstance(folders, list)
        and isinstance(site, dict)
    ):
        raise RenderError("the workshop was asked for something it does not know")
    sources = Sources(mail_type, tuple(Path(str(folder)) for folder in folders))
    joined = pages(sources, theme)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # no file and no socket can be opened any more
    mail = compile_pages(mail_type, inlined(joined), Site(**site).is_safe)
    text, html = mail.render(context, known[str(request["language"])])
    return {"text": text, "html": html}


if __name__ == "__main__":
    main()
