"""Time comes in through one door: a constructor argument.

No flag, environment variable, configuration or request reaches it; tests pass another clock to the constructor.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1000


def to_datetime(time_us: int) -> datetime:
    """Return an aware UTC datetime."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)


def to_date(time_us: int) -> date:
    """Return the UTC date."""
    return to_datetime(time_us).date()


def to_text(time_us: int) -> str:
    """Return RFC 3339 with microseconds and Z."""
    return to_datetime(time_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
