"""Lock-out after repeated failures, with a delay that grows, in bounded memory.

The key is (claimed identity, address): somebody who guesses from one place does not lock the owner out of another. A
second throttle with the address alone as its key stops one place that tries many identities, and nobody there who
proves who it is. Tokens are counted by their subject once the provider's signature has proven it. There is none for the
identity alone: secrets here are 256 random bits or keys, so guessing from many places finds nothing, and locking the
identity everywhere would give anybody a way to keep its owner out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

from store.clock import Clock

_DOUBLINGS_MAX = 32


class Throttle:
    """Counts failures per key; `failures_max` in a row lock the key for `lockout_seconds`, each further one for twice
    as long as the one before, up to `lockout_seconds_max`.

    Failures below the limit are forgotten after `lockout_seconds`, others when the key was quiet for
    `lockout_seconds_max` after its lock. At most `entries_max` keys are remembered; the longest untouched goes first.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures_max: int,
        lockout_seconds: int,
        entries_max: int,
        lockout_seconds_max: int | None = None,
    ) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._lockout_us = lockout_seconds * 1_000_000
        self._lockout_us_max = max(lockout_seconds, lockout_seconds_max or lockout_seconds) * 1_000_000
        self._entries_max = entries_max
        self._entries: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def locked_seconds(self, key: Hashable) -> int:
        """Return for how many seconds `key` is still locked; 0 when it is not."""
        with self._lock:
            failures, last_us = self._entries.get(key, (0, 0))
        # A clock that was set back keeps nobody out for as long as it was set back by.
        left_us = self._delay_us(failures) - abs(self._clock.now_us() - last_us)
        return 0 if left_us <= 0 else -(-left_us // 1_000_000)

    def failed(self, key: Hashable) -> None:
        """Count a failure."""
        now_us = self._clock.now_us()
        with self._lock:
            failures, last_us = self._entries.pop(key, (0, 0))
            if now_us - last_us > self._remembered_us(failures):
                failures = 0
            self._entries[key] = (failures + 1, now_us)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)

    def succeeded(self, key: Hashable) -> None:
        """Forget the failures of `key`."""
        if key in self._entries:
            with self._lock:
                self._entries.pop(key, None)

    def _delay_us(self, failures: int) -> int:
        if failures < self._failures_max:
            return 0
        doublings = min(failures - self._failures_max, _DOUBLINGS_MAX)
        return min(self._lockout_us << doublings, self._lockout_us_max)

    def _remembered_us(self, failures: int) -> int:
        delay_us = self._delay_us(failures)
        return delay_us + self._lockout_us_max if delay_us else self._lockout_us

    def __len__(self) -> int:
        return len(self._entries)
