"""What a syslog daemon writes before a message: time, offset, host.

* RFC 5424 and rsyslog's RFC 3339 stamps carry their offset.
* RFC 3164's `Nov 22 10:00:00` has neither offset nor year: it is local time of the source's zone, in the latest year
  that brings it no further ahead of the receipt than a record may be. Junos can write the year behind the clock.

Source: RFC 3164 §4.1.2, RFC 5424 §6.2.3.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, NamedTuple

from ingest.source_config import FUTURE_ALLOWANCE, RECEIVED_US, SourceConfig
from ingest.times import LocalTime, ZoneTimes, epoch_us, month_number, wall_time, zone_times

_STAMPED: Final = re.compile(
    rb"(?:<[0-9]{1,3}>)?(?:1 )?([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    rb"(Z|[+-][0-9]{2}:[0-9]{2}) +([^\s:]+) +"
)
_LOCAL: Final = re.compile(
    rb"(?:<[0-9]{1,3}>)?([A-Z][a-z]{2}) +([0-9]{1,2})(?: ([0-9]{4}))? "
    rb"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?(?: ([0-9]{4}))? +([^\s:]+) +"
)
_OFFSET_MINUTES_MAX: Final = 14 * 60
_ALLOWANCE_US: Final = FUTURE_ALLOWANCE // timedelta(microseconds=1)


class Prefix(NamedTuple):
    """When, by which host, and where in the line the message begins; `time` is None when no calendar has it."""

    time: LocalTime | None
    host: str
    end: int


class PrefixReader:
    """Reads the prefixes of one delivery."""

    def __init__(self, source: SourceConfig, format_name: str) -> None:
        self._source, self._format = source, format_name
        self._zone: ZoneTimes | None = None
        received = source.options.get(RECEIVED_US)
        self._received_us = None if received is None else int(received)

    @property
    def zone(self) -> ZoneTimes:
        """The source's zone.

        Raises:
            ConfigurationError: it has none.
        """
        if self._zone is None:
            self._zone = zone_times(self._source, self._format)
        return self._zone

    def read(self, line: bytes) -> Prefix | None:
        """Return the prefix, or None when the line has none.

        Raises:
            ConfigurationError: the time is local, and the source has no zone.
        """
        found = _STAMPED.match(line)
        if found is not None:
            return Prefix(_stamped(found), found[9].decode(), found.end())
        found = _LOCAL.match(line)
        if found is None:
            return None
        month, day, before, hour, minute, second, fraction, behind, host = found.groups()
        date = month_number(month.decode()), int(day)
        clock = int(hour), int(minute), int(second)
        year = int(before or behind or 0)
        return Prefix(self.local(year, date, clock, _micros(fraction)), host.decode(), found.end())

    def local(
        self, year: int, date: tuple[int, int], clock: tuple[int, int, int], microsecond: int = 0
    ) -> LocalTime | None:
        """Return the time of (month, day) and clock in the source's zone; a year of 0 is to be found."""
        if year:
            wall = wall_time((year, *date), clock, microsecond)
            return None if wall is None else self.zone.resolve(wall)
        zone = self.zone
        if self._received_us is None:
            return None
        here = 1970 + self._received_us // 31_556_952_000_000
        for one in (here + 1, here, here - 1):
            wall = wall_time((one, *date), clock, microsecond)
            if wall is not None and (time := zone.resolve(wall)).time_us <= self._received_us + _ALLOWANCE_US:
                return time
        return None


def _stamped(found: re.Match[bytes]) -> LocalTime | None:
    year, month, day, hour, minute, second = (int(one) for one in found.groups()[:6])
    wall = wall_time((year, month, day), (hour, minute, second), _micros(found[7]))
    offset = found[8]
    minutes = 0 if offset == b"Z" else int(offset[1:3]) * 60 + int(offset[4:6])
    if wall is None or minutes > _OFFSET_MINUTES_MAX:
        return None
    offset_s = -minutes * 60 if offset[:1] == b"-" else minutes * 60
    return LocalTime(epoch_us(wall, offset_s), offset_s, False)


def _micros(fraction: bytes | None) -> int:
    return int((fraction or b"0")[:6].ljust(6, b"0"))
