"""Move the fixtures' dates, so that what a switch wrote in November 2026 can be taken in on any day.

The ceiling is real: records older than 24 months are refused, and nobody can hand the program another time. So the
demo moves the records instead, by whole days: times of day and the order of records stay.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

RECORDED_ON: Final = date(2026, 11, 22)
"""The day on which the fixtures were recorded."""

_DAY_S: Final = 86_400
_FIRST_S: Final = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp())
_LAST_S: Final = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp())
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_EPOCH: Final = re.compile(rb"(?<![\d.])\d{10}(?!\d)")
_ISO: Final = re.compile(rb"(?<!\d)2026-11-2[123](?!\d)")
_CTIME: Final = re.compile(rb"\b(?:Sat|Sun|Mon) Nov (2[123]) (\d\d:\d\d:\d\d) 2026\b")
_MONTH_FIRST: Final = re.compile(rb"\bNov (2[123]) 2026\b")


def shifted(data: bytes, to: date) -> bytes:
    """Return the fixture with every date moved by as many days as `to` lies from the day of the recording."""
    days = (to - RECORDED_ON).days

    def epoch(match: re.Match[bytes]) -> bytes:
        seconds = int(match[0])
        return b"%d" % (seconds + days * _DAY_S) if _FIRST_S <= seconds < _LAST_S else match[0]

    def iso(match: re.Match[bytes]) -> bytes:
        return (date.fromisoformat(match[0].decode()) + timedelta(days=days)).isoformat().encode()

    def ctime(match: re.Match[bytes]) -> bytes:
        day = _november(match[1]) + timedelta(days=days)
        return (
            f"{_WEEKDAYS[day.weekday()]} {_MONTHS[day.month - 1]} {day.day:2d} {match[2].decode()} {day.year}".encode()
        )

    def month_first(match: re.Match[bytes]) -> bytes:
        day = _november(match[1]) + timedelta(days=days)
        return f"{_MONTHS[day.month - 1]} {day.day:2d} {day.year}".encode()

    for pattern, move in ((_EPOCH, epoch), (_ISO, iso), (_CTIME, ctime), (_MONTH_FIRST, month_first)):
        data = pattern.sub(move, data)
    return data


def _november(day: bytes) -> date:
    return date(2026, 11, int(day))
