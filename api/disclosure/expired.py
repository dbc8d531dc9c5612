"""What a package says of permitted fields that are kept no longer: an empty cell is not a record without a location."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from store.completeness import LOCATION_OVER
from store.siblings import LOCATION_FIELDS

if TYPE_CHECKING:
    from store import ScanQuery, Store
    from store.scan import Plan


def expired_fields(store: Store, query: ScanQuery, permitted: Collection[str]) -> dict[str, Any]:
    """Return by category the days (UTC) of which a permitted field's period is over; nothing when all are kept.

    Raises:
        ClockError: nobody can tell.
    """
    if LOCATION_FIELDS.isdisjoint(permitted):
        return {}
    days = sorted({key.end_date.isoformat() for key in store.plan(query).location_over})
    return {"expired": {"location": days}} if days else {}


def comparable(reasons: Mapping[str, str], planned: Plan, permitted: Collection[str]) -> dict[str, str]:
    """Return why days cannot be compared with what was delivered once: a permitted location ended since, too."""
    if LOCATION_FIELDS.isdisjoint(permitted):
        return {day: reason for day, reason in reasons.items() if reason != LOCATION_OVER}
    return {key.end_date.isoformat(): LOCATION_OVER for key in planned.location_over} | dict(reasons)
