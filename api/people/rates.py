"""How often one caller may ask, by role: a bucket of a minute's requests that fills up again steadily."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from api.people.roles import Role
from api.settings import Settings
from store.clock import Clock

AUTHORITY: Final = "authority"
_MINUTE_US: Final = 60_000_000
_ENTRIES_MAX: Final = 10_000


def per_minute(settings: Settings) -> dict[str, int]:
    """Return the requests a minute of every role, and of an authority's system."""
    names = [role.value for role in Role]
    return {name: getattr(settings, f"{name.replace('-', '_')}_per_minute") for name in [*names, AUTHORITY]}


class Rates:
    """One bucket per caller, in bounded memory; a caller with several roles has the widest of their rates."""

    def __init__(self, clock: Clock, rates: dict[str, int]) -> None:
        self._clock = clock
        self._rates = rates
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, caller: str, roles: Collection[str]) -> int:
        """Take one request out of the caller's bucket and return 0, or return how long to wait for the next one."""
        rate = max((self._rates[role] for role in roles), default=min(self._rates.values()))
        now_us = self._clock.now_us()
        with self._lock:
            left, last_us = self._buckets.pop(caller, (float(rate), now_us))
            # A clock that was set back fills nothing, and does not stop the bucket either.
            left = min(float(rate), left + max(0, now_us - last_us) * rate / _MINUTE_US)
            taken = left >= 1
            self._buckets[caller] = (left - 1 if taken else left, now_us)
            while len(self._buckets) > _ENTRIES_MAX:
                self._buckets.popitem(last=False)
        return 0 if taken else max(1, int((1 - left) * 60 / rate + 0.999))

    def __len__(self) -> int:
        return len(self._buckets)
