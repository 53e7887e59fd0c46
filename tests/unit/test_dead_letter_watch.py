from __future__ import annotations

from notifier.dead_letter_watch import DeadLetterWatch


def counted(rejections: list[int]) -> list[int]:
    """In which rounds, of five seconds each, the letters are counted."""
    watch = DeadLetterWatch(interval=60)
    return [
        number
        for number, known in enumerate(rejections)
        if watch.due(rejections=known, now=1000 + 5 * number)
    ]


def test_the_letters_are_counted_at_the_start_and_once_a_minute() -> None:
    assert counted([0] * 25) == [0, 12, 24]


def test_after_a_rejection_they_are_counted_twice_since_the_broker_counts_late() -> None:
    assert counted([0, 0, 0, 1, 1, 1, 1]) == [0, 3, 4]
    assert counted([0, 0, 1, 5, 5, 5]) == [0, 2, 3, 4]
