"""What the model of histories knows: records, holds and versions of the policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from schemas.fields import SERVICE_TYPES
from schemas.policy import Version
from schemas.retention import CategoryPeriod, RetentionClass, add_months

CLASSES = {"voice": "short", "data": "ten", "sms": "standard", "mms": "standard"}
FIRST_MONTHS = {"short": 6, "ten": 10, "standard": 24}


@dataclass
class Record:
    """What the model knows of one record."""

    key: int
    day: date
    kind: str
    caller: int
    lies: str
    """The class in which it is stored."""
    core: int
    """The shortest period that its class met."""
    months: int
    """The shortest period that it met, of its class or of one to which its service moved."""
    location: int
    """The shortest period that its location met; 24 is none of its own."""
    located: bool = False
    """Whether its location was kept when it came."""
    erased: bool = False
    alone: bool = False
    """Whether it was erased by itself: then it is new when it comes again."""

    def has_location(self, today: date) -> bool:
        return today < add_months(self.day, min(self.months, self.location))

    def is_location_due(self, today: date) -> bool:
        """Whether nothing of its location may be left after an expiry run."""
        is_over = today >= add_months(self.day, self.core)
        kept = today < add_months(self.day, min(self.core, self.location))
        return not (kept or (is_over and not self.is_past_floor(today))) and today > add_months(self.day, 2)

    def is_over(self, today: date) -> bool:
        return today >= add_months(self.day, self.months)

    def is_past_floor(self, today: date) -> bool:
        return today > add_months(self.day, 6)

    @property
    def partition(self) -> tuple[date, str]:
        return self.day, self.lies


@dataclass
class Hold:
    """A hold on one caller's records, and what was moved out for it."""

    caller: int
    ends: date
    kept: set[int]
    ended: bool = False


@dataclass(frozen=True)
class Rules:
    """One version of the policy, as the model knows it."""

    start: date
    months: dict[str, int]
    location: int
    services: dict[str, str]


def version(
    number: int, start: date, months: dict[str, int], location: int = 24, chosen: dict[str, str] = CLASSES
) -> Version:
    classes = tuple(RetentionClass(name, count, "duty", f"Act {number}") for name, count in months.items())
    services = {name: chosen.get(name, "standard") for name in SERVICE_TYPES}
    own = {"location": CategoryPeriod("location", location, "duty", f"Act {number}")}
    return Version(number, start, classes, services, categories=own)
