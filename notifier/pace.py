"""How fast each server takes mails: a slow one gets small batches, so that its connections share the work."""

from __future__ import annotations

import threading

SLOW = 0.020  # seconds a mail; up to here a full batch is one connection's work (docs/reliability.md)
_WEIGHT = 0.2  # of the newest mail in the running mean
_KEPT = 500  # slow servers remembered; the list goes with every claim


class Pace:
    """A running mean of seconds per mail, by server; thread-safe. Servers nobody was slow on are not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[int, float] = {}

    def took(self, server_id: int, seconds: float) -> None:
        """Note one mail."""
        with self._lock:
            known = self._seconds.get(server_id)
            if known is None and seconds <= SLOW:
                return
            mean = seconds if known is None else known + _WEIGHT * (seconds - known)
            if mean <= SLOW:
                self._seconds.pop(server_id, None)
            elif known is not None or len(self._seconds) < _KEPT:
                self._seconds[server_id] = mean

    def is_slow(self, server_id: int) -> bool:
        """Tell whether this server is known as a slow one."""
        with self._lock:
            return server_id in self._seconds

    def small_batches(self, full: int) -> dict[str, int]:
        """Return the batch size of each slow server: as many mails as a normal one takes in the time of `full`."""
        with self._lock:
            return {str(key): max(1, int(full * SLOW / mean)) for key, mean in self._seconds.items()}
