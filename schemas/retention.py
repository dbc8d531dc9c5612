"""Retention bounds and classes as data, and the calendar arithmetic behind them.

Source: the operator's notice ("a minimum of 6 months and a maximum timeframe 24 months"); Directive 2006/24 Art 6.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from schemas.errors import ConfigurationError, NotFoundError

FLOOR_MONTHS: Final = 6
"""Nothing deletes a record's core before so many calendar months."""

CEILING_MONTHS: Final = 24
"""Nothing stays after so many calendar months."""

POLICY_VERSION: Final = 1
"""The version of the policy below; certificates of erasure name it."""


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

CLASSES: Final[tuple[RetentionClass, ...]] = (DEFAULT_CLASS,)

SHARED_DOMAIN: Final = "shared"
"""The key domain of everybody without dedicated keys."""


def class_named(name: str) -> RetentionClass:
    """Return the class of that name.

    Raises:
        NotFoundError: the policy has no such class.
    """
    for item in CLASSES:
        if item.name == name:
            return item
    raise NotFoundError("the policy has no such retention class")


def add_months(day: date, months: int) -> date:
    """Return the same day so many months on, or that month's last day: 31 August + 6 = the last day of February."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def floor_until(end_date: date) -> datetime:
    """Return the instant from which records that ended on `end_date` may be erased.

    Midnight UTC starting the day after `end_date` + 6 months, so that the last of the day is six months old.
    """
    return _midnight(add_months(end_date, FLOOR_MONTHS) + timedelta(days=1))


def expires_at(end_date: date, retention_class: RetentionClass) -> datetime:
    """Return the instant from which records that ended on `end_date` exist no more.

    Midnight UTC starting `end_date` + the class's months, so that the first of the day is never too old.
    """
    return _midnight(add_months(end_date, retention_class.period_months))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
