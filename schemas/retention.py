"""The bounds of retention, what a retention class and a category's period are, and the calendar arithmetic behind them.

Which classes there are, and since when, is `schemas.policy`.

Source: the operator's notice ("a minimum of 6 months and a maximum timeframe 24 months"); Directive 2006/24 Art 6.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from schemas.errors import ConfigurationError
from schemas.fields import Category

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


@dataclass(frozen=True, slots=True)
class CategoryFloor:
    """How long a field category is kept at least, where the law lets it go before the record's core."""

    months: int
    citation: str


CATEGORY_FLOORS: Final[Mapping[str, CategoryFloor]] = {
    Category.LOCATION.value: CategoryFloor(2, "Act 2022:482 ch. 9 § 22"),
}
"""The only field categories that may have a period of their own; all others end with the record's core."""


@dataclass(frozen=True, slots=True)
class CategoryPeriod:
    """How long a version of the policy keeps a field category, in whatever class its records lie."""

    name: str
    period_months: int
    legal_basis: str
    citation: str

    def __post_init__(self) -> None:
        floor = CATEGORY_FLOORS.get(self.name)
        if floor is None:
            raise ConfigurationError(
                "no field category of that name has a period of its own; these may: " + ", ".join(CATEGORY_FLOORS)
            )
        if not floor.months <= self.period_months <= CEILING_MONTHS:
            raise ConfigurationError(
                f"field category {self.name}: the period must lie in [{floor.months}, {CEILING_MONTHS}] calendar months"
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


def floor_until(end_date: date, category: str = "") -> datetime:
    """Return the instant from which records that ended on `end_date`, or a field category of them, may be erased.

    Midnight UTC starting the day after `end_date` + 6 months (a category: its floor's), so that the last of the day is
    that old.
    """
    months = CATEGORY_FLOORS[category].months if category else FLOOR_MONTHS
    return midnight(add_months(end_date, months) + timedelta(days=1))


def expires_at(end_date: date, period: RetentionClass | CategoryPeriod) -> datetime:
    """Return the instant from which records that ended on `end_date` exist no more.

    Midnight UTC starting `end_date` + the period's months, so that the first of the day is never too old.
    """
    return midnight(add_months(end_date, period.period_months))


def midnight(day: date) -> datetime:
    """Return the instant (UTC) that begins a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
