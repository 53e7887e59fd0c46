"""What a worker asks of servers beside its mails: answers may take long, so no mail and no sweep waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.dead_letter_watch import DeadLetterWatch
from notifier.repeating import Repeating

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from notifier.metrics import Metrics
    from notifier.smtp.pool import Pool
    from notifier.vitals import Vitals

COUNT, COUNT_UNASKED = 5.0, 60.0  # seconds; the longer one where this process rejected nothing


class Housekeeping:
    """One thread per process: closes idle SMTP connections, and counts the dead letters.

    count_dead_letters may return None when the broker cannot say.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        count_dead_letters: Callable[[], int | None],
        vitals: Vitals,
        metrics: Metrics,
        clock: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self._pool = pool
        self._count_dead_letters = count_dead_letters
        self._vitals = vitals
        self._metrics = metrics
        self._clock = clock
        self._letter_watch = DeadLetterWatch(interval=COUNT_UNASKED)
        self._thread = Repeating(
            "housekeeping",
            [(0.0, self._close_idle), (COUNT, self._look_at_dead_letters)],
            clock=clock,
            stopping=stopping,
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.alive

    def _close_idle(self) -> None:
        self._pool.close_idle()

    def _look_at_dead_letters(self) -> None:
        if not self._letter_watch.due(rejections=self._metrics.rejections, now=self._clock()):
            return
        count = self._count_dead_letters()
        self._vitals.dead_letters_are(count)
        if count is not None:
            self._metrics.dead_letters(count)
