"""Ids are unique, whichever thread asks and however often chance is drawn anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from notifier.message_ids import new_uuid

_MANY = 2000  # of each thread: chance for several draws


def test_no_two_ids_are_the_same() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = [
            one for ids in threads.map(lambda _: [new_uuid() for _ in range(_MANY)], range(4)) for one in ids
        ]
    assert len(set(found)) == 4 * _MANY


def test_no_two_ids_share_their_chance() -> None:
    chances = {new_uuid().int & (2**62 - 1) for _ in range(_MANY)}
    assert len(chances) == _MANY
