"""The bench's own mail server takes what it is sent."""

from __future__ import annotations

import smtplib
import time
from typing import TYPE_CHECKING

from bench import sink

if TYPE_CHECKING:
    from pathlib import Path


def _send(port: int, *recipients: str) -> None:
    client = smtplib.SMTP("127.0.0.1", port)
    for to in recipients:
        client.sendmail("a@b.example", [to], f"Message-ID: <{to}>\r\n\r\n.dot\r\n".encode())
    client.quit()


def test_the_sink_records_and_keeps_every_mail(tmp_path: Path) -> None:
    record = tmp_path / "record"
    with sink.start(record=record, keep=tmp_path) as running:
        before = time.time()
        _send(running.port, "x@c.example", "y@c.example")
    lines = [line.split() for line in record.read_text("ascii").splitlines()]
    assert [line[1:] for line in lines] == [[to, f"<{to}>"] for to in ("x@c.example", "y@c.example")]
    assert all(before <= float(line[0]) <= time.time() for line in lines)
    assert [path.read_bytes().split()[-1] for path in sorted(tmp_path.glob("*.eml"))] == [b".dot"] * 2


def test_a_slow_sink_holds_up_one_connection_and_not_the_others() -> None:
    with sink.start(slow=1.0) as running:
        clients = [smtplib.SMTP("127.0.0.1", running.port) for _ in range(30)]
        began = time.monotonic()
        for client in clients:
            client.ehlo()
            client.mail("a@b.example")
            client.rcpt("x@c.example")
            client.putcmd("data")
            client.getreply()
            client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert [client.getreply()[0] for client in clients] == [250] * 30
        assert 1.0 <= time.monotonic() - began < 30.0  # one after another would take longer
        for client in clients:
            client.close()
