"""How fast each server takes mails: a slow one gets small batches, so that its connections share the work."""

from __future__ import annotations

import threading

SLOW = 0.020  # seconds a mail; up to here one connection may take all that a claim can (docs/reliability.md)
_WEIGHT = 0.2  # of the newest mail in the running mean
_KEPT = 500  # slow servers remembered; the list goes with every claim


class Pace:
    """A running mean of seconds per mail, by server; thread-safe. Servers that are not slow are not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[int, float] = {}

    def took(self, server_id: int, seconds: float, *, mails: int = 1) -> None:
        """Note that some mails, sent one after another, took so long in all; one pause among many is no pace."""
        latest = seconds / mails
        with self._lock:
            known = self._seconds.get(server_id)
            if known is None and latest <= SLOW:
                return
            mean = latest if known is None else latest + (1 - _WEIGHT) ** mails * (known - latest)
            if mean <= SLOW:
                self._seconds.pop(server_id, None)
            elif known is not None or len(self._seconds) < _KEPT:
                self._seconds[server_id] = mean

    def is_slow(self, server_id: int) -> bool:
        """Tell whether this server is known as a slow one."""
        return server_id in self._seconds

    def small_batches(self, full: int) -> dict[str, int]:
        """Return the batch size of each slow server: as many mails as it takes in the time of `full` at SLOW."""
        with self._lock:
            return {str(key): max(1, int(full * SLOW / mean)) for key, mean in self._seconds.items()}
