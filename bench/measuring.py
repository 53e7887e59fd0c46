"""Numbers of one run: repeated, summed up by their median, compared as ratios, with what else the machine did."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUIET = 0.2  # cores that others may use for a latency to mean something


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One line of the report: what was measured, its unit, the goal as text, and whether it was met (None: no goal)."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None


def at_least(name: str, value: float, goal: float, unit: str = "times") -> Figure:
    """Return a figure that should be at least `goal`."""
    return Figure(name=name, value=value, unit=unit, goal=f"≥ {goal:g}", met=value >= goal)


def at_most(name: str, value: float, goal: float, unit: str = "times") -> Figure:
    """Return a figure that should be at most `goal`."""
    return Figure(name=name, value=value, unit=unit, goal=f"≤ {goal:g}", met=value <= goal)


def plain(name: str, value: float, unit: str) -> Figure:
    """Return a figure without a goal."""
    return Figure(name=name, value=value, unit=unit)


def median(values: Sequence[float]) -> float:
    """Return the median of the rounds."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class OthersLoad:
    """How many cores processes that are not ours used since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._own = machine_cpu(), _own_by_pid()

    def cores(self) -> float:
        """Return the cores used by others, on average."""
        now = _own_by_pid()
        own = sum(used - self._own.get(pid, 0.0) for pid, used in now.items())
        return max(0.0, (machine_cpu() - self._busy - own) / (time.monotonic() - self._began))


def machine_cpu() -> float:
    """Return the CPU seconds that everything on this machine has used since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)


def _own_by_pid() -> dict[int, float]:
    """Return the CPU seconds of this process and all that descend from it."""
    return dict(_family())


def _family() -> Iterator[tuple[int, float]]:
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        yield process.pid, times.user + times.system
