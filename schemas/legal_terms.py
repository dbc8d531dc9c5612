"""What a legal basis of disclosure says, as types: who decides, by when, from which data, and what happens in haste.

Every row names the provisions it rests on. Where a figure is this product's and not the law's, `own_bounds` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from schemas.errors import ProcedureError
from schemas.fields import BY_NAME, FIELDS, Category

TARGET_KINDS: Final = ("number", "imsi", "imei", "mac", "ip", "account")
"""Identifier kinds that a search can take."""

_HOUR_US: Final = 3_600_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SATURDAY: Final = 5


class Decider(StrEnum):
    """Who decides on an order under a basis."""

    COURT = "court"
    PROSECUTOR = "prosecutor"
    AUTHORITY = "authority"


class CustomerNotice(StrEnum):
    """Whether the operator tells the customer whose data left."""

    PROHIBITED = "prohibited"  # the operator keeps silent; the authority tells, if anybody
    AFTER_DELIVERY = "after-delivery"  # told unless the order forbids it


class Draws(StrEnum):
    """What a basis reaches, as a purpose of the retention policy; nothing older than that purpose's window is read."""

    DUTY = "disclosure"  # all that is stored, what only the retention duty keeps included
    BILLING = "billing"  # only what the operator still holds to bill
    SECURITY = "security"  # only what the operator still holds to run and protect its network


class Overlap(StrEnum):
    """Which records belong to a window that they reach across."""

    OVERLAPS = "overlaps"  # any part of the communication lies in the window, its last instant counted
    STARTS = "starts"  # the communication began in the window


class Days(StrEnum):
    """Which days a deadline counts."""

    CALENDAR = "calendar"
    WORKING = "working"  # Monday to Friday; public holidays count, so that no answer is late for want of a calendar


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time for an answer, from receipt: `hours`, or `days` of a kind, each of 24 hours.

    A day counted so ends with the hour of receipt and not with the day, so it is never later than the law's.
    """

    citation: str
    hours: int | None = None
    days: int | None = None
    counts: Days = Days.CALENDAR

    def due_us(self, received_us: int) -> int:
        """Return the instant by which the answer is due (UTC microseconds)."""
        if self.hours is not None:
            return received_us + self.hours * _HOUR_US
        due = _EPOCH + timedelta(microseconds=received_us)
        left = self.days or 0
        while left > 0:
            due += timedelta(days=1)
            left -= self.counts is Days.CALENDAR or due.weekday() < _SATURDAY
        return (due - _EPOCH) // timedelta(microseconds=1)

    @property
    def text(self) -> str:
        """Say how long it is."""
        if self.hours is not None:
            return f"{self.hours} hours"
        return f"{self.days} {self.counts} days"


@dataclass(frozen=True, slots=True)
class EmergencyPath:
    """What a basis allows when the regular decision cannot be waited for.

    `confirm_hours` is how long it may stay without the regular decider's confirmation; None: the path only shortens
    the deadline, and the decision is there. `decided_by` decides in the meantime.
    """

    citation: str
    decided_by: Decider
    confirm_hours: int | None
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class LegalBasis:
    """One version of one basis.

    A field may leave when its category is in `categories` *and*, where `fields` is given, its name is in `fields`.
    A record may leave when the target stands in one of `match_fields`; None takes every field of the target's kind.
    `effective_to` is exclusive; None is open. `window_days_max` bounds one order's window. `own_bounds` names the
    attributes whose value is this product's bound or reading, and not the law's word.
    """

    id: str
    version: int
    title: str
    citation: str
    decided_by: Decider
    target_kinds: frozenset[str]
    categories: frozenset[Category]
    window_days_max: int
    targets_max: int
    customer_notice: CustomerNotice
    notice_citation: str
    effective_from: date
    draws_on: Draws
    draws_citation: str
    asked_by: frozenset[str]
    """Kinds of registered authorities that may file under it (`api.people.authorities.AuthorityKind`)."""
    own_bounds: frozenset[str]
    also_decided_by: frozenset[Decider] = frozenset()
    """Who else may decide in the regular decider's place."""
    effective_to: date | None = None
    fields: frozenset[str] | None = None
    match_fields: frozenset[str] | None = None
    overlap: Overlap = Overlap.OVERLAPS
    deadline: Deadline | None = None
    emergency: EmergencyPath | None = None
    notice_days: tuple[int, int] | None = None
    """Earliest and latest day of the notice, after the delivery."""
    preserves: bool = False
    """Nothing leaves under it: such an order places a hold."""

    def in_force(self, day: date) -> bool:
        """Tell whether this version is the law on `day`."""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)

    def permits(self, field_name: str) -> bool:
        """Tell whether a field may leave under this basis; an unknown field never does."""
        field = BY_NAME.get(field_name)
        if field is None or field.category not in self.categories:
            return False
        return self.fields is None or field_name in self.fields

    def matchable(self, kind: str) -> tuple[str, ...]:
        """Return the fields in which a target of `kind` counts as found."""
        names = tuple(field.name for field in FIELDS if field.index == kind) or (
            ("account",) if kind == "account" else ()
        )
        return tuple(name for name in names if self.match_fields is None or name in self.match_fields)

    def deadline_of(self, *, emergency: bool) -> Deadline | None:
        """Return the deadline of an order; None when neither the law nor this table names one."""
        return self.emergency.deadline if emergency and self.emergency else self.deadline

    def deciders(self, *, emergency: bool) -> frozenset[Decider]:
        """Return who may decide; in an emergency who decides in the meantime too, if the basis has such a path."""
        regular = self.also_decided_by | {self.decided_by}
        return regular | {self.emergency.decided_by} if emergency and self.emergency else regular

    def emergency_path(self) -> EmergencyPath:
        """Return the emergency path.

        Raises:
            ProcedureError: reason `no-emergency-path`.
        """
        if self.emergency is None:
            raise ProcedureError("the legal basis has no emergency path", reason="no-emergency-path")
        return self.emergency
