"""Which writers of this process are at work, told to the other processes by a lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from store import files, locks
from store.layout import Layout


class Writers:
    """Which batches of this process are unfinished; while there is one, no other process sweeps orphans."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.writers_lock
        self._guard = threading.Lock()
        self._active: set[int] = set()
        self._held: AbstractContextManager[Any] | None = None

    def acquire(self, batch: object) -> None:
        """Note that a batch begins.

        Raises:
            BusyError: another process sweeps, and does not end.
        """
        with locks.within(self._guard, "writers"):
            if self._held is None:
                held = files.lock(self._path, exclusive=False)
                held.__enter__()
                self._held = held
            self._active.add(id(batch))

    def release(self, batch: object) -> None:
        """Note that a batch is published or discarded."""
        with self._guard:
            self._active.discard(id(batch))
            if not self._active and self._held is not None:
                self._held.__exit__(None, None, None)
                self._held = None

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep orphans from being swept while something other than a batch writes parts."""
        token = object()
        self.acquire(token)
        try:
            yield
        finally:
            self.release(token)

    def idle(self) -> bool:
        """Tell whether this process has no unfinished batch."""
        with self._guard:
            return not self._active
