"""Events that keep coming while a test breaks things."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Self

from tests.acceptance.judgement import Expected
from tests.acceptance.world import event_id, failed_job
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.acceptance.world import Customer, World


class Flow:
    """Publishes failed jobs of the customers in turn, `rate` a second, from a thread of its own, until the block ends.

    A confirm that stays away is waited for and the event published again, as every publisher should. What was confirmed
    is noted as expected in the world.
    """

    def __init__(
        self, world: World, customers: Sequence[Customer], *, rate: float, first_number: int = 1
    ) -> None:
        self._world = world
        self._recipients = {one.id: world.admins(one.id) for one in customers}
        self._customers = customers
        self._interval = 1.0 / rate
        self._numbers = itertools.count(first_number)
        self._ending = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)
        self.confirmed = 0
        self.mails = 0

    def wait_for(self, events: int, seconds: float = 60.0) -> None:
        """Return when so many more events are confirmed."""
        wanted = self.confirmed + events

        def came() -> bool:
            if self._fault is not None:
                raise self._fault
            return self.confirmed >= wanted

        wait_until(came, seconds, f"{events} more events")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            with self._world.publisher() as publisher:
                due = time.monotonic()
                for number, customer in zip(self._numbers, itertools.cycle(self._customers), strict=False):
                    publisher.publish(failed_job(customer, number), routing_key="job_failed")
                    self._note(customer, number)
                    due = max(due + self._interval, time.monotonic() - 1)
                    if self._ending.wait(max(0.0, due - time.monotonic())):
                        return
        except Exception as fault:  # noqa: BLE001 - told to the test, which waits in another thread
            self._fault = fault

    def _note(self, customer: Customer, number: int) -> None:
        recipients = self._recipients[customer.id]
        self._world.events.append(
            Expected(customer_id=customer.id, event_id=event_id(number), recipients=recipients)
        )
        self.mails += len(recipients)
        self.confirmed += 1
