"""What a claim that was refused has to say."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from notifier.claiming import CLAIM_ROWS, Claimer
from notifier.domain.errors import LaneFault
from notifier.store import claims


def test_what_cannot_be_claimed_is_told_by_its_mail_or_else_by_its_customer() -> None:
    class Database:
        def run(self, function: object, fault: LaneFault, *, limit: int) -> list[tuple[int | None, str]]:
            assert (function, limit) == (claims.pass_over, CLAIM_ROWS)
            return [(5, "damaged"), (None, str(fault))]

    fault = LaneFault("too late (55P03)", customer_id=7, seen="-infinity", timed_out=True)
    nothing: Any = None
    with capture_logs() as logs:
        Claimer.pass_over(nothing, Database(), fault)  # type: ignore[arg-type]
    assert [(line["event"], line.get("mail_id"), line["customer_id"], line["error"]) for line in logs] == [
        ("mail_stuck", 5, 7, "damaged"),
        ("customer_put_off", None, 7, "too late (55P03)"),
    ]
