"""What a package says of fields and services that are kept no longer: an empty cell is no record without a location."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from store.reading.completeness import LOCATION_OVER
from store.siblings import LOCATION_FIELDS

SERVICE_OVER: Final = "service-over"

if TYPE_CHECKING:
    from store.reading.scan import Plan


def expired_fields(planned: Plan, permitted: Collection[str]) -> dict[str, Any]:
    """Return by category the days (UTC) of which a permitted field's period, or a service's, is over; else nothing."""
    over = {f"service {name}": keys for name, keys in planned.services_over.items()}
    if planned.location_over and not LOCATION_FIELDS.isdisjoint(permitted):
        over["location"] = planned.location_over
    found = {name: sorted({key.end_date.isoformat() for key in keys}) for name, keys in sorted(over.items())}
    return {"expired": found} if found else {}


def comparable(reasons: Mapping[str, str], planned: Plan, permitted: Collection[str]) -> dict[str, str]:
    """Return why days cannot be compared with what was delivered once: a service or permitted location ended, too."""
    ended = {key.end_date.isoformat(): SERVICE_OVER for keys in planned.services_over.values() for key in keys}
    reasons = ended | dict(reasons)
    if LOCATION_FIELDS.isdisjoint(permitted):
        return {day: reason for day, reason in reasons.items() if reason != LOCATION_OVER}
    return {key.end_date.isoformat(): LOCATION_OVER for key in planned.location_over} | dict(reasons)
