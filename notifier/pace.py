"""How fast each server takes mails: if not quickly, it gets small batches, so that its connections share the work."""

from __future__ import annotations

import threading

QUICK = 0.010  # seconds a mail; up to here one connection may take all that a claim can
SLOW = 0.020  # up to here it gets a full batch (docs/reliability.md)
_WEIGHT = 0.2  # of the newest mail in the running mean
_KEPT = 500  # such servers remembered; the list goes with every claim


class Pace:
    """A running mean of seconds per mail, by server; thread-safe. Quick servers are not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[int, float] = {}

    def took(self, server_id: int, seconds: float) -> None:
        """Note one mail."""
        with self._lock:
            known = self._seconds.get(server_id)
            if known is None and seconds <= QUICK:
                return
            mean = seconds if known is None else known + _WEIGHT * (seconds - known)
            if mean <= QUICK:
                self._seconds.pop(server_id, None)
            elif known is not None or len(self._seconds) < _KEPT:
                self._seconds[server_id] = mean

    def is_slow(self, server_id: int) -> bool:
        """Tell whether this server is known as a slow one."""
        with self._lock:
            return self._seconds.get(server_id, 0.0) > SLOW

    def is_quick(self, server_id: int) -> bool:
        """Tell whether nothing is known against giving this server many mails over one connection."""
        with self._lock:
            return server_id not in self._seconds

    def small_batches(self, full: int) -> dict[str, int]:
        """Return the batch size of each server that is not quick.

        At most `full`, and as many mails as one that is just not slow takes in the time of `full`.
        """
        with self._lock:
            return {
                str(key): min(full, max(1, int(full * SLOW / mean))) for key, mean in self._seconds.items()
            }
