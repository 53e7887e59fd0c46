from __future__ import annotations

import io
import stat
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, classify
from notifier.smtp.transports import ConsoleTransport, DummyTransport, FileTransport, Transport, transport

if TYPE_CHECKING:
    from pathlib import Path

DATA = "Subject: Grüße\r\n\r\nHello\r\n".encode()


def _file(folder: Path) -> FileTransport:
    return FileTransport(folder, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), new_uuid=uuid.uuid4)


def _send(one: Transport) -> str:
    reply = one.send(mail_from="a@example.org", rcpt_to="b@example.org", data=DATA)
    assert classify(reply).kind == Kind.SENT
    return reply.text


def test_the_console_shows_envelope_and_mail() -> None:
    stream = io.StringIO()
    _send(ConsoleTransport(stream))
    assert stream.getvalue().startswith(
        "MAIL FROM:<a@example.org>\nRCPT TO:<b@example.org>\nSubject: Grüße\n\nHello\n"
    )


def test_every_mail_becomes_a_private_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "mails"
    one = _file(folder)
    names = [_send(one).removeprefix("2.0.0 written to ") for _ in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    for path in folder.iterdir():
        assert path.read_bytes() == DATA
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.name.startswith("20260102T030405.000000Z-")


def test_a_folder_that_takes_no_files_is_a_fault_that_may_pass(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(SmtpFault, match=r"smtp\.file_path") as caught:
        _send(_file(blocked))
    assert classify(caught.value).kind == Kind.CONNECTION


def test_the_setting_names_the_transport(tmp_path: Path) -> None:
    assert transport("smtp", file_path=None) is None
    assert isinstance(transport("console", file_path=None), ConsoleTransport)
    assert isinstance(transport("dummy", file_path=None), DummyTransport)
    made = transport("file", file_path=tmp_path)
    assert made is not None
    _send(made)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_dummy_takes_everything() -> None:
    assert _send(DummyTransport()) == "2.0.0 forgotten"
