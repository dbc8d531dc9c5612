"""The bounds of retention, what a retention class is, and the calendar arithmetic behind them.

Which classes there are, and since when, is `schemas.policy`.

Source: the operator's notice ("a minimum of 6 months and a maximum timeframe 24 months"); Directive 2006/24 Art 6.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from schemas.errors import ConfigurationError

FLOOR_MONTHS: Final = 6
"""Nothing deletes a record's core before so many calendar months."""

CEILING_MONTHS: Final = 24
"""Nothing stays after so many calendar months."""


@dataclass(frozen=True, slots=True)
class RetentionClass:
    """A named period of the policy; a partition belongs to exactly one."""

    name: str
    period_months: int
    legal_basis: str
    citation: str

    def __post_init__(self) -> None:
        if not FLOOR_MONTHS <= self.period_months <= CEILING_MONTHS:
            raise ConfigurationError(
                f"retention class {self.name}: the period must lie in "
                f"[{FLOOR_MONTHS}, {CEILING_MONTHS}] calendar months"
            )


DEFAULT_CLASS: Final = RetentionClass(
    name="standard",
    period_months=CEILING_MONTHS,
    legal_basis="legal obligation of the operator",
    citation="Directive 2006/24/EC Art 6; operator's privacy notice, 'How long the data is stored'",
)

SHARED_DOMAIN: Final = "shared"
"""The key domain of everybody without dedicated keys."""


def add_months(day: date, months: int) -> date:
    """Return the same day so many months on, or that month's last day: 31 August + 6 = the last day of February."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def floor_until(end_date: date) -> datetime:
    """Return the instant from which records that ended on `end_date` may be erased.

    Midnight UTC starting the day after `end_date` + 6 months, so that the last of the day is six months old.
    """
    return midnight(add_months(end_date, FLOOR_MONTHS) + timedelta(days=1))


def expires_at(end_date: date, retention_class: RetentionClass) -> datetime:
    """Return the instant from which records that ended on `end_date` exist no more.

    Midnight UTC starting `end_date` + the class's months, so that the first of the day is never too old.
    """
    return midnight(add_months(end_date, retention_class.period_months))


def midnight(day: date) -> datetime:
    """Return the instant (UTC) that begins a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
