"""What is measured, and with how much: one frozen row per size, its purpose beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from bench import workload
from bench.peers.base import Window

KEPT_DAYS: Final = 728
"""Two years but two days: what is older may be refused today, or expire while the measurement runs."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; `of` scales the default."""

    scale: float
    today: date
    day_rows: int
    """The reference: one day of CSV, in one delivery, and in `deliveries` with the merge to the final state."""
    month_rows: int
    """A month of 30 days, for usage."""
    years_rows: int
    """As many days as are kept, for lookups."""
    years_days: int
    deliveries: int = 10
    ingest_repeats: int = 3
    sustained_repeats: int = 2
    usage_repeats: int = 5
    present: int = 30
    absent: int = 10
    lookup_seconds_max: float = 5.0
    """A peer is asked no more of one kind of lookup when it has spent so long, but `lookups_min` at least."""
    lookups_min: int = 5
    accounts: int = 1_000
    month_days: int = 30
    push_repeats: int = 3
    push_seconds: float = 10
    isolation_seconds: float = 20
    """For each phase of pushes beside heavy work."""
    isolation_rows: int = 2_000_000
    half_rate: int = 500_000
    """Half of the top rate, in records/s."""

    @classmethod
    def of(cls, scale: float, today: date) -> Sizes:
        """Return the sizes of a scale; days are fewer only below a quarter."""
        days = min(KEPT_DAYS, max(40, round(KEPT_DAYS * scale * 4)))
        return cls(
            scale,
            today,
            day_rows=_rows(workload.ROWS, scale),
            month_rows=_rows(2_000_000, scale),
            years_rows=_rows(10_000_000, scale),
            years_days=days,
            present=30 if scale >= 0.25 else 6,
            absent=10 if scale >= 0.25 else 3,
            push_repeats=3 if scale >= 0.25 else 1,
            push_seconds=10 if scale >= 0.25 else 2,
            isolation_seconds=20 if scale >= 0.25 else 4,
            isolation_rows=_rows(2_000_000, scale),
        )

    @property
    def oldest(self) -> date:
        """The oldest day that is measured with: the next to expire."""
        return self.today - timedelta(days=KEPT_DAYS)

    @property
    def month_start(self) -> date:
        """The first day of the month that is billed: lately, for billing may not read as far back as disclosure."""
        return self.today - timedelta(days=self.month_days + 15)

    @property
    def years_start(self) -> date:
        """The first day of the longest store."""
        return self.oldest

    @property
    def windows(self) -> tuple[Window, ...]:
        """A day and a month from the middle of the longest store, and all of it."""
        middle = self.years_start + timedelta(days=self.years_days // 2)
        whole = Window(self.years_start, self.years_start + timedelta(days=self.years_days + 1))
        month = middle - timedelta(days=15)
        return (Window(middle, middle + timedelta(days=1)), Window(month, month + timedelta(days=30)), whole)


def _rows(rows: int, scale: float) -> int:
    return max(10_000, round(rows * scale))
