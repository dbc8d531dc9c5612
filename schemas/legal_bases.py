"""Legal bases of disclosure as data: what an order may ask for, and what may leave.

A basis is a row; a change of the law is a further row with the same id and another period of validity. An order is
judged by the row in force on the day of its decision. Whatever no row permits is refused.

Absent on purpose: the copyright information order. It reaches only what the operator still holds for its own purpose,
and records do not say yet for which purpose they are kept; without a row it is refused.

Source: the design's *Disclosure*; the provisions cited in each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from schemas.errors import ProcedureError
from schemas.fields import BY_NAME, FIELDS, Category

TARGET_KINDS: Final = ("number", "imsi", "imei", "mac", "ip", "account")
"""Identifier kinds that a search can take."""


class Decider(StrEnum):
    """Who decides on an order under a basis."""

    COURT = "court"
    PROSECUTOR = "prosecutor"
    AUTHORITY = "authority"


class CustomerNotice(StrEnum):
    """Whether the operator may tell the customer whose data left."""

    PROHIBITED = "prohibited"  # the operator keeps silent; the authority tells, if anybody
    AFTER_DELIVERY = "after-delivery"  # told unless the order forbids it


@dataclass(frozen=True, slots=True)
class LegalBasis:
    """One version of one basis.

    A field may leave when its category is in `categories` *and*, where `fields` is given, its name is in `fields`.
    A record may leave when the target stands in one of `match_fields`; None takes every field of the target's kind.
    `effective_to` is exclusive; None is open. `window_days_max` bounds one order's window, `deadline_hours` the answer.
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
    effective_from: date
    effective_to: date | None = None
    fields: frozenset[str] | None = None
    match_fields: frozenset[str] | None = None
    deadline_hours: int | None = None

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


_ALL_BUT_CHARGING: Final = frozenset(Category) - {Category.CHARGING}
_SUBSCRIBER_FIELDS: Final = frozenset(
    {
        "source",
        "record_key",
        "conflict",
        "service_type",
        "start_time",
        "end_time",
        "utc_offset_s",
        "end_inferred",
        "time_ambiguous",
        "source_ip",
        "source_port",
        "nat_ip",
        "nat_port_first",
        "nat_port_last",
        "ipv6_prefix",
        "calling_number",
        "account",
    }
)
_SUBSCRIBER_CATEGORIES: Final = frozenset(
    {Category.RECORD, Category.TIME, Category.ADDRESS, Category.PARTY, Category.CHARGING}
)
# The served side only: a record in which the target was called would give away the caller's account.
_SERVED_SIDE: Final = frozenset({"calling_number", "source_ip", "nat_ip", "ipv6_prefix", "account"})

BASES: Final[tuple[LegalBasis, ...]] = (
    LegalBasis(
        id="secret-surveillance",
        version=1,
        title="Secret surveillance of electronic communication",
        citation="Code of Judicial Procedure (1942:740; the operator's notice writes 1942:749) ch. 27 s. 19",
        decided_by=Decider.COURT,
        target_kinds=frozenset({"number", "imsi", "imei", "mac", "ip", "account"}),
        categories=_ALL_BUT_CHARGING,
        window_days_max=731,
        targets_max=20,
        customer_notice=CustomerNotice.PROHIBITED,
        effective_from=date(2012, 7, 1),
    ),
    LegalBasis(
        id="intelligence",
        version=1,
        title="Collection of data in law-enforcement intelligence work",
        citation="Act 2012:278 ss. 1-5",
        decided_by=Decider.AUTHORITY,
        target_kinds=frozenset({"number", "imsi", "imei", "ip"}),
        categories=_ALL_BUT_CHARGING,
        window_days_max=366,
        targets_max=10,
        customer_notice=CustomerNotice.PROHIBITED,
        effective_from=date(2012, 7, 1),
        effective_to=date(2019, 10, 1),
    ),
    LegalBasis(
        id="intelligence",
        version=2,
        title="Collection of data in law-enforcement intelligence work",
        citation="Act 2012:278 ss. 1-5, decided by a prosecutor since 1 October 2019",
        decided_by=Decider.PROSECUTOR,
        target_kinds=frozenset({"number", "imsi", "imei", "ip"}),
        categories=_ALL_BUT_CHARGING,
        window_days_max=366,
        targets_max=10,
        customer_notice=CustomerNotice.PROHIBITED,
        effective_from=date(2019, 10, 1),
    ),
    LegalBasis(
        id="subscriber-data",
        version=1,
        title="Who held an address or a number",
        citation="Act 2003:389 ch. 6 s. 22",
        decided_by=Decider.AUTHORITY,
        target_kinds=frozenset({"number", "ip", "account"}),
        categories=_SUBSCRIBER_CATEGORIES,
        window_days_max=31,
        targets_max=10,
        customer_notice=CustomerNotice.PROHIBITED,
        effective_from=date(2003, 7, 25),
        effective_to=date(2022, 6, 3),
        fields=_SUBSCRIBER_FIELDS,
        match_fields=_SERVED_SIDE,
    ),
    LegalBasis(
        id="subscriber-data",
        version=2,
        title="Who held an address or a number",
        citation="Act 2022:482 ch. 9 s. 33",
        decided_by=Decider.AUTHORITY,
        target_kinds=frozenset({"number", "ip", "account"}),
        categories=_SUBSCRIBER_CATEGORIES,
        window_days_max=31,
        targets_max=20,
        customer_notice=CustomerNotice.PROHIBITED,
        effective_from=date(2022, 6, 3),
        fields=_SUBSCRIBER_FIELDS,
        match_fields=_SERVED_SIDE,
    ),
    LegalBasis(
        id="missing-person",
        version=1,
        title="Search for a missing person whose life or health is in danger",
        citation="Act 2022:482 ch. 9 s. 33",
        decided_by=Decider.AUTHORITY,
        target_kinds=frozenset({"number", "imsi", "imei"}),
        categories=frozenset({Category.RECORD, Category.TIME, Category.PARTY, Category.EQUIPMENT, Category.LOCATION}),
        window_days_max=31,
        targets_max=2,
        customer_notice=CustomerNotice.AFTER_DELIVERY,
        effective_from=date(2022, 6, 3),
    ),
    LegalBasis(
        id="european-production-order",
        version=1,
        title="European Production Order for traffic data",
        citation="Regulation (EU) 2023/1543 Arts 5 and 10",
        decided_by=Decider.COURT,
        target_kinds=frozenset({"number", "imsi", "imei", "ip", "account"}),
        categories=_ALL_BUT_CHARGING,
        window_days_max=731,
        targets_max=20,
        customer_notice=CustomerNotice.PROHIBITED,
        effective_from=date(2026, 8, 18),
        deadline_hours=240,
    ),
)


def basis_on(basis_id: str, day: date) -> LegalBasis:
    """Return the version of a basis that is the law on `day`.

    Raises:
        ProcedureError: reason `unknown-basis`, or `basis-not-in-force`.
    """
    versions = [basis for basis in BASES if basis.id == basis_id]
    if not versions:
        raise ProcedureError("there is no such legal basis", reason="unknown-basis")
    for basis in versions:
        if basis.in_force(day):
            return basis
    raise ProcedureError("the legal basis is not in force on the day of the decision", reason="basis-not-in-force")
