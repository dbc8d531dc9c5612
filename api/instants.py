"""Instants as people write them: a date (midnight UTC) or RFC 3339 with an offset. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from schemas.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_instant(text: str) -> int:
    """Return UTC microseconds of a date or of RFC 3339 with an offset; a time without one is refused.

    Raises:
        InputError: it is neither, or an instant that UTC has no year of four digits for: nobody could be shown it.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError("a time is a date or RFC 3339 with an offset") from None
    if moment.tzinfo is None:
        if not _DATE.fullmatch(text):
            raise InputError("a time needs its offset from UTC, such as Z")
        moment = moment.replace(tzinfo=UTC)
    try:
        return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        raise InputError("a time lies within the years 1 to 9999") from None


def parse_date(text: str) -> date:
    """Return the date of YYYY-MM-DD.

    Raises:
        InputError: it is none.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputError("a date is written YYYY-MM-DD") from None
    if day.isoformat() != text:
        raise InputError("a date is written YYYY-MM-DD")
    return day


def midnight_us(day: date) -> int:
    """Return UTC microseconds of the midnight that starts a day."""
    return (day - date(1970, 1, 1)).days * 86_400 * 1_000_000
