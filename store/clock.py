"""Time comes in through one door: a constructor argument.

No flag, environment variable, configuration or request reaches it; tests pass another clock to the constructor. The
clock has two hands: the wall clock, which somebody may set, and the counter of the running machine, which nobody does.
`store.retention.clocktrust` compares them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Final, Protocol

_UPTIME: Final = Path("/proc/uptime")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Uptime:
    """The counter of the running machine: `counter_us` since the start that `boot` names, sleep included."""

    boot: str
    counter_us: int


class Clock(Protocol):
    """What tells the time."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        ...

    def uptime(self) -> Uptime:
        """Return the machine's counter."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1000

    def uptime(self) -> Uptime:
        """Return the machine's counter, as the kernel tells it: no library between moves it with the wall clock."""
        try:
            counter_s = float(_UPTIME.read_text("ascii").split()[0])
            boot = _boot()
        except (OSError, ValueError, IndexError):
            counter_s, boot = time.clock_gettime(time.CLOCK_BOOTTIME), "unknown"
        return Uptime(boot, int(counter_s * 1_000_000))


@cache
def _boot() -> str:
    return _BOOT.read_text("ascii").strip()


def to_datetime(time_us: int) -> datetime:
    """Return an aware UTC datetime."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)


def to_date(time_us: int) -> date:
    """Return the UTC date."""
    return to_datetime(time_us).date()


def to_text(time_us: int) -> str:
    """Return RFC 3339 with microseconds and Z."""
    return to_datetime(time_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
