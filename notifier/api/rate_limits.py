"""How many requests a key may make in a minute; counted in this process."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

KEPT = 10_000  # keys; the one not seen for longest is forgotten, which favours it


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimit:
    """A bucket of `per_minute` permits for each key, refilled evenly; thread-safe. clock gives seconds."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float]) -> None:
        self._size = float(per_minute)
        self._rate = per_minute / 60
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Return for how many seconds the key must wait; 0 when it need not."""
        with self._lock:
            return self._wait(key)

    def take(self, key: Hashable) -> None:
        """Use one permit, also when there is none left: whoever goes on waits longer, up to a minute."""
        with self._lock:
            self._take(key)

    def spend(self, key: Hashable) -> float:
        """Use one permit if there is one; returns for how many seconds the key must wait otherwise."""
        with self._lock:
            wait = self._wait(key)
            if not wait:
                self._take(key)
            return wait

    def knows(self, key: Hashable) -> bool:
        """Tell whether the key was seen of late."""
        with self._lock:
            return key in self._buckets

    def forget(self, key: Hashable) -> None:
        """Forget the key."""
        with self._lock:
            self._buckets.pop(key, None)

    def _wait(self, key: Hashable) -> float:
        bucket = self._refilled(key)
        return 0.0 if bucket is None or bucket.left >= 1 else (1 - bucket.left) / self._rate

    def _take(self, key: Hashable) -> None:
        bucket = self._refilled(key) or _Bucket(left=self._size, at=self._clock())
        bucket.left = max(bucket.left - 1, 1 - self._size)
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)

    def _refilled(self, key: Hashable) -> _Bucket | None:
        bucket = self._buckets.get(key)
        if bucket is not None:
            now = self._clock()
            bucket.left = min(self._size, bucket.left + (now - bucket.at) * self._rate)
            bucket.at = now
        return bucket


def address_key(host: str) -> str:
    """Return what one person has of addresses: an IPv4 address, or a /64 of IPv6; of what is none, all."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:  # as a proxy on a dual-stack socket writes IPv4
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
