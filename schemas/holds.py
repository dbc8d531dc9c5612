"""Bases on which single records outlive their partition: what a hold keeps, for which purpose, and how long at most.

A hold moves records out; their partition drops all the same. The longest terms are the cited provisions' as we read
them: an operator's lawyer confirms them before they are relied upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from schemas.errors import ConfigurationError, ProcedureError
from schemas.fields import FIELDS, Category
from schemas.retention import add_months

TARGETS_MAX: Final = 1_000
"""Accounts and identifiers of one hold."""


class Purpose(StrEnum):
    """What held records may be used for."""

    BILLING = "billing"
    DISCLOSURE = "disclosure"


@dataclass(frozen=True, slots=True)
class HoldBasis:
    """One basis. `months_max` or `days_max` bounds its first term; a renewal adds at most `renewal_days_max`."""

    id: str
    title: str
    citation: str
    purpose: Purpose
    fields: frozenset[str]
    months_max: int | None = None
    days_max: int | None = None
    renewal_days_max: int = 0
    renewals_max: int = 0
    warning_days: int = 14
    """So many days before its end an alarm is raised."""

    def last_end(self, placed: date) -> date:
        """Return the latest end of a hold placed on a day."""
        if self.months_max is not None:
            return add_months(placed, self.months_max)
        return placed + timedelta(days=self.days_max or 0)

    def check_end(self, placed: date, ends: date) -> None:
        """Return if a hold placed on a day may end then.

        Raises:
            ProcedureError: it would end before it begins, or after the longest term.
        """
        if not placed < ends <= self.last_end(placed):
            raise ProcedureError(
                f"a hold on the basis {self.id} ends after its day, and by {self.last_end(placed)}", reason="term"
            )

    def check_renewal(self, ends: date, new_end: date, renewals: int) -> None:
        """Return if a hold that was renewed so many times may be renewed from one end to another.

        Raises:
            ProcedureError: the basis allows no further renewal, or no such long one.
        """
        if renewals >= self.renewals_max:
            raise ProcedureError(f"the basis {self.id} allows no further renewal", reason="renewals")
        if not ends < new_end <= ends + timedelta(days=self.renewal_days_max):
            raise ProcedureError(
                f"a renewal on the basis {self.id} adds 1 to {self.renewal_days_max} days", reason="term"
            )


_EVERYTHING: Final = frozenset(field.name for field in FIELDS)
_BILLING_CATEGORIES: Final = {Category.RECORD, Category.TIME, Category.CHARGING}
# Who was served (an account may be known by the number or the IMSI only), what was called, and how it ended.
_BILLING_FIELDS: Final = frozenset(field.name for field in FIELDS if field.category in _BILLING_CATEGORIES) | {
    "calling_number",
    "called_number",
    "imsi",
    "disposition",
}
_ARTICLE_6: Final = "Directive 2002/58 Art 6(2)"

HOLD_BASES: Final[tuple[HoldBasis, ...]] = (
    HoldBasis(
        "invoice-consumer",
        "Unpaid invoice of a consumer",
        f"{_ARTICLE_6}; Limitation Act (1981:130) § 2, three years",
        Purpose.BILLING,
        _BILLING_FIELDS,
        months_max=36,
    ),
    HoldBasis(
        "invoice",
        "Unpaid invoice",
        f"{_ARTICLE_6}; Limitation Act (1981:130) § 2, ten years",
        Purpose.BILLING,
        _BILLING_FIELDS,
        months_max=120,
    ),
    HoldBasis(
        "preservation",
        "Preservation order",
        "Code of Judicial Procedure 27:16",
        Purpose.DISCLOSURE,
        _EVERYTHING,
        days_max=90,
        renewal_days_max=90,
        renewals_max=1,
    ),
    HoldBasis(
        "epoc-pr",
        "European Preservation Order",
        "Regulation (EU) 2023/1543 Art 11",
        Purpose.DISCLOSURE,
        _EVERYTHING,
        days_max=60,
        renewal_days_max=30,
        renewals_max=1,
    ),
)


def hold_basis(id: str) -> HoldBasis:
    """Return a basis.

    Raises:
        ConfigurationError: there is none of that name.
    """
    for basis in HOLD_BASES:
        if basis.id == id:
            return basis
    known = ", ".join(basis.id for basis in HOLD_BASES)
    raise ConfigurationError("there is no such basis of a hold", hint=f"the bases are {known}")
