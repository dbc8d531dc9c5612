"""Items are worked on side by side, and come in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ingest.parallel_map import WORKERS, in_order
from tests.patience import PATIENCE_S


def failing(count: int) -> Iterator[int]:
    """Yield so many numbers, then fail."""
    yield from range(count)
    raise ValueError("no more")


@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_items_come_in_order_with_what_was_made_of_them(count: int, workers: int) -> None:
    assert list(in_order(range(count), str, workers=workers)) == [(one, str(one)) for one in range(count)]


def test_two_items_are_worked_on_at_once() -> None:
    both = threading.Barrier(WORKERS, timeout=PATIENCE_S)
    list(in_order(range(2 * WORKERS), lambda _: both.wait()))


def test_a_lone_item_needs_no_thread() -> None:
    ((_, made),) = in_order([1], lambda _: threading.current_thread())
    assert made is threading.current_thread()


def test_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for one in range(50):
            taken.append(one)
            yield one

    for used, _ in in_order(source(), str):
        assert len(taken) - used <= WORKERS + 1


@pytest.mark.parametrize("count", range(6))
def test_what_came_before_a_failure_is_yielded_first(count: int) -> None:
    seen: list[int] = []
    with pytest.raises(ValueError, match="no more"):
        for item, _ in in_order(failing(count), str):
            seen.append(item)
    assert seen == list(range(count))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_work_that_fails_is_told_at_its_place(count: int) -> None:
    def work(item: int) -> int:
        return 1 // (count - 1 - item)

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        for item, _ in in_order(range(count + 3), work):
            seen.append(item)
    assert seen == list(range(count - 1))


def test_who_stops_early_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    pairs = in_order(range(100), str)
    next(pairs)
    assert set(threading.enumerate()) - before
    pairs.close()  # type: ignore[attr-defined]
    assert not set(threading.enumerate()) - before
