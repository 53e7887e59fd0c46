"""How many examples a property takes: its own number in the whole suite, a tenth of it in `make test-unit`."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # what a property takes that asks for no number


def examples(number: int) -> settings:
    """Decorate a property that is cheaper or dearer than the usual; `number` is scaled by the profile in force."""
    return settings(max_examples=max(1, number * settings().max_examples // USUAL))
