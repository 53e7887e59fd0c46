"""When the certificates of the mail servers end, as their last TLS handshakes showed: one metric of few series."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_SERIES = 20  # the servers whose certificates end first; every customer may have a server of its own
FORGOTTEN = 7 * 86400.0  # seconds without a handshake: the server is gone, or nobody there gets mail any more
NAME = "notifier_smtp_certificate_expiry_timestamp_seconds"


class Certificates(Collector):
    """The last seen certificate of each server; every method may be called from any thread. now: Unix time."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = Lock()
        self._seen: dict[int, tuple[float, float]] = {}  # server id: when it ends, when it was seen

    def seen(self, server_id: int, ends: float) -> None:
        """A server showed a certificate that ends at this Unix time."""
        with self._lock:
            self._seen[server_id] = (ends, self._now())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the certificates that end first."""
        family = GaugeMetricFamily(
            NAME,
            f"When the certificate ends that a mail server showed last, Unix time; the {MOST_SERIES} that end first.",
            labels=("server_id",),
        )
        with self._lock:
            since = self._now() - FORGOTTEN
            self._seen = {server: known for server, known in self._seen.items() if known[1] >= since}
            ends = sorted((ends, server) for server, (ends, _) in self._seen.items())
        for when, server in ends[:MOST_SERIES]:
            family.add_metric((str(server),), when)
        yield family
