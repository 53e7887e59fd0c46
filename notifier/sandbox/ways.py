"""The order in which a service is obtained: the first way that exists on this machine is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
Found_co = TypeVar("Found_co", covariant=True)


class Service(Protocol):
    """What every obtained service can do."""

    @property
    def url(self) -> str:
        """Where it answers, with login and password."""

    @property
    def source(self) -> str:
        """How it was obtained, for people."""

    def close(self) -> None:
        """Stop what was started for us and remove what was temporary; a given service is left alone."""


class Given:
    """A server that somebody else runs, or a container: it has a URL and cannot be killed by us."""

    def __init__(self, url: str, *, source: str, close: Callable[[], None] | None = None) -> None:
        self.url = url
        self.source = source
        self._close = close

    def close(self) -> None:
        """Remove the container; a server that was given is left alone."""
        if self._close is not None:
            self._close()


class Absent(Exception):
    """This way does not exist on this machine; the text says why and how to get it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way(Generic[Found_co]):
    """One way to a service. `take` raises Absent if this machine does not have it."""

    name: str
    take: Callable[[], Found_co]


def first(what: str, ways: Sequence[Way[T]]) -> T:
    """Take the first way that exists.

    A way that exists and fails raises its own error: the next one would only hide the fault.
    Raises ConfigurationError naming every way and why it is missing.
    """
    reasons: list[str] = []
    for way in ways:
        try:
            return way.take()
        except Absent as why:
            reasons.append(f"{way.name}: {why}")
    raise ConfigurationError(
        [f"no {what} can be obtained on this machine. Any one of these is enough:", *reasons]
    )
