"""Work on the next items while those before them are used: both cores stay busy on one delivery.

Kernels, Arrow and most of NumPy run without the interpreter's lock, so two stretches are worked on at once. What has to
come in order (reading, framing, positions) stays with the caller; what needs one stretch only is the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

WORKERS: Final = 2
"""Stretches of a delivery that are decoded at once."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_order(
    items: Iterable[Item], work: Callable[[Item], Made], *, workers: int = WORKERS
) -> Iterator[tuple[Item, Made]]:
    """Yield each item with what `work` makes of it, in the items' order; one item more than there are workers is held.

    Items are taken in the caller's thread. A lone item is worked on there too: a small delivery needs no threads. When
    the items or the work fail, what came before is yielded first.
    """
    source = iter(items)
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    held: list[Item] = []
    failure = _take(source, held) or _take(source, held)
    if len(held) == 1:
        yield held[0], work(held[0])
    elif held:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="lagrum-ahead")
        try:
            while held or waiting:
                waiting.extend((item, pool.submit(work, item)) for item in held)
                held.clear()
                if failure is None and len(waiting) <= workers:
                    failure = _take(source, held)
                else:
                    item, made = waiting.popleft()
                    yield item, made.result()
        finally:
            pool.shutdown(cancel_futures=True)
    if failure is not None and not isinstance(failure, StopIteration):
        raise failure


def _take(source: Iterator[Item], held: list[Item]) -> Exception | None:
    """Take one item; return what came instead of it."""
    try:
        held.append(next(source))
    except Exception as error:  # told once what came before it is used
        return error
    return None
