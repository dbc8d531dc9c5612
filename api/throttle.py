"""Lock-out after repeated failures, in bounded memory.

The key is (claimed identity, peer): somebody who guesses from one place does not lock the owner out of another.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from store.clock import Clock


class Throttle:
    """Counts failures per key; after `failures_max` in a row the key is locked for `lockout_seconds`.

    At most `entries_max` keys are remembered; the longest untouched is forgotten first.
    """

    def __init__(self, clock: Clock, *, failures_max: int, lockout_seconds: int, entries_max: int) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._lockout_us = lockout_seconds * 1_000_000
        self._entries_max = entries_max
        self._entries: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def locked_seconds(self, key: Hashable) -> int:
        """Return for how many seconds `key` is still locked; 0 when it is not."""
        with self._lock:
            failures, last_us = self._entries.get(key, (0, 0))
        left_us = last_us + self._lockout_us - self._clock.now_us()
        if failures < self._failures_max or left_us <= 0:
            return 0
        return -(-left_us // 1_000_000)

    def failed(self, key: Hashable) -> None:
        """Count a failure; failures older than the lock-out no longer count."""
        now_us = self._clock.now_us()
        with self._lock:
            failures, last_us = self._entries.pop(key, (0, 0))
            if now_us - last_us > self._lockout_us:
                failures = 0
            self._entries[key] = (failures + 1, now_us)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)

    def succeeded(self, key: Hashable) -> None:
        """Forget the failures of `key`."""
        if key in self._entries:
            with self._lock:
                self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
