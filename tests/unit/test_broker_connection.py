"""What pika raises, as we name it."""

from __future__ import annotations

import pytest
from pika.exceptions import ChannelClosedByBroker, StreamLostError

from notifier.broker.connection import broker_faults
from notifier.domain.errors import BrokerUnavailable


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            StreamLostError("Stream connection lost: ConnectionResetError(104, 'Connection reset by peer')"),
            "reset",
        ),
        (ChannelClosedByBroker(404, "NOT_FOUND - no queue"), "404 NOT_FOUND"),
    ],
)
def test_a_fault_of_the_broker_is_one_that_passes(fault: Exception, told: str) -> None:
    with pytest.raises(BrokerUnavailable, match=f"reading: .*{told}"), broker_faults("reading"):
        raise fault


def test_want_of_memory_is_no_fault_of_the_broker() -> None:
    """Connecting again would start a thread, and without memory for it Python waits for ever."""
    with pytest.raises(MemoryError, match="reading: no memory left"), broker_faults("reading"):
        raise StreamLostError("Stream connection lost: MemoryError()")
