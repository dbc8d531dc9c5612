"""Bounded thread pools: the event loop never waits for the store, and the store is never asked for more than it can."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from schemas.errors import BusyError

P = ParamSpec("P")
T = TypeVar("T")


class ByteBudget:
    """Memory that larger bodies may take together; used from the event loop alone."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max

    def take(self, size_bytes: int) -> bool:
        """Reserve memory; tell whether there was as much."""
        if size_bytes > self._left:
            return False
        self._left -= size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Give it back."""
        self._left += size_bytes


class BoundedPool:
    """Threads for one role; beyond `workers` running and `queue_max` waiting calls it refuses."""

    def __init__(self, name: str, *, workers: int, queue_max: int) -> None:
        self.name = name
        self._limit = workers + queue_max
        self._in_flight = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=f"lagrum-{name}")

    @property
    def in_flight(self) -> int:
        """Calls that run or wait."""
        return self._in_flight

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start or queue a call from the event loop.

        Raises:
            BusyError: the pool is full.
        """
        with self._lock:
            if self._in_flight >= self._limit:
                raise BusyError(f"the service takes no more {self.name} work right now")
            self._in_flight += 1
        try:
            future = self._executor.submit(function, *args, **kwargs)
        except BaseException:
            self._release(None)
            raise
        future.add_done_callback(self._release)
        return asyncio.wrap_future(future)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call and wait for it; see `submit`."""
        return await self.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Wait for what runs and let nothing new start."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _release(self, _: Future[T] | None) -> None:
        with self._lock:
            self._in_flight -= 1
