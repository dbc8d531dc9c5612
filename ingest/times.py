"""Local times of switches, made UTC: one rule for every format that writes the wall clock of its zone.

The rule at the two changes of the clock:

* autumn: a local time that occurs twice is taken as its *first* occurrence (summer time) and marked `ambiguous`;
* spring: a local time that never occurs is read with the offset in force before the change, so it moves forward by
  the length of the gap (02:30 becomes 03:30 on the wall). A switch that writes it had not changed its clock yet.

A zone abbreviation beside the time ("CET", "CEST") settles the autumn hour; see `offset_s`.
Forms are strict: what does not have the form exactly is None, never a guess.

Source: Directive 2006/24 Art 5(1)(c): date and time, "based on a certain time zone".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.buffers import Ints, Mask, text_views, valid_mask
from schemas.errors import ConfigurationError
from store import native

CACHE_TIMES_MAX: Final = 200_000
"""So many distinct local times are remembered (more than two days of seconds); then the cache starts again."""

CLOCKS_MIN: Final = 256
"""Fewer texts are read by NumPy."""

LOAD_CLOCKS_MIN: Final = 8_192
"""Fewer are no reason to load the kernels; when they are there, they are used."""

_KERNELS: Final = "ingest.time_kernels"

YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (naive on purpose: arithmetic on wall-clock times)
_MICROSECOND: Final = timedelta(microseconds=1)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_ISO_LENGTH: Final = len("2026-11-22 00:12:29")
_MINUTE: Final = len("2026-11-22 00:12:")
_SECONDS: Final = {f"{second:02}": second for second in range(60)}
_ISO_FORM: Final = np.frombuffer(b"0000-00-00 00:00:00", np.uint8)
_ISO_LIMIT: Final = np.where(np.isin(_ISO_FORM, ord("0")), 9, 0).astype(np.uint8)
_ISO_PAIRS: Final = (0, 2, 5, 8, 11, 14, 17)
_HOUR: Final = timedelta(hours=1)
_NEVER_S: Final = 1 << 31
_WHOLE_MINUTES: Final = "1972"
"""Since then every zone changes its offset at a whole minute: within one, only the seconds differ."""

_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?")

# Abbreviations that mean one offset wherever they are used. IST, CST, BST and the like mean several: only the source's
# own zone can settle them. Source: RFC 5322 section 4.3 (obs-zone) for the American ones.
_ABBREVIATIONS: Final = {
    "UTC": 0,
    "GMT": 0,
    "Z": 0,
    "WET": 0,
    "WEST": 3600,
    "CET": 3600,
    "CEST": 7200,
    "EET": 7200,
    "EEST": 10_800,
    "MSK": 10_800,
    "EST": -18_000,
    "EDT": -14_400,
    "CDT": -18_000,
    "MST": -25_200,
    "MDT": -21_600,
    "PST": -28_800,
    "PDT": -25_200,
}
_NUMERIC_ZONE = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})?")


class LocalTime(NamedTuple):
    """One converted time: µs since 1970 UTC, the offset of the local time in s, and whether it occurs twice."""

    time_us: int
    offset_s: int
    ambiguous: bool


_NO_TIME: Final = LocalTime(0, 0, False)  # told from a true one by its identity


class LocalTimes(NamedTuple):
    """A converted column; where `bad` is set, the text has not the form (null texts are not bad, and stay null)."""

    times: pa.Array[Any]  # TIME_TYPE
    offsets_s: pa.Array[Any]  # int32
    ambiguous: pa.Array[Any]  # bool
    bad: npt.NDArray[np.bool_]


def parse_iso(text: str) -> datetime | None:
    """Return the naive time of `YYYY-MM-DD HH:MM:SS[.ffffff]`, or None."""
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction = found.groups()
    microsecond = int((fraction or "0").ljust(6, "0"))
    return wall_time((int(year), int(month), int(day)), (int(hour), int(minute), int(second)), microsecond)


def month_number(name: str) -> int:
    """Return 1 to 12 for an English three-letter month, 0 for anything else."""
    return _MONTHS.get(name, 0)


def wall_time(date: tuple[int, int, int], clock: tuple[int, int, int], microsecond: int = 0) -> datetime | None:
    """Return the naive time of (year, month, day) and (hour, minute, second), or None if no calendar has it."""
    if not YEAR_MIN <= date[0] <= YEAR_MAX:
        return None
    try:
        return datetime(*date, *clock, microsecond)  # noqa: DTZ001
    except ValueError:
        return None


def epoch_us(wall: datetime, offset_s: int) -> int:
    """Return µs since 1970 UTC of a naive local time and its offset."""
    return (wall - _EPOCH) // _MICROSECOND - offset_s * 1_000_000


class ZoneTimes:
    """Converts local times of one zone; remembers distinct texts, since a log repeats its seconds."""

    def __init__(self, zone: str, parse: Callable[[str], datetime | None] = parse_iso) -> None:
        """Take an IANA zone name and the form in which times are written.

        Raises:
            ConfigurationError: there is no such zone.
        """
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"there is no time zone {zone!r}", hint="use an IANA name such as Europe/Stockholm"
            ) from error
        self._parse = parse
        self._cache: dict[str, LocalTime | None] = {}

    def convert(self, text: str) -> LocalTime | None:
        """Return the time of `text`, or None when it has not the form or no calendar has it."""
        cache = self._cache
        if text in cache:
            return cache[text]
        if len(text) == _ISO_LENGTH and self._parse is parse_iso:
            second = _SECONDS.get(text[_MINUTE:])
            if second and text >= _WHOLE_MINUTES:
                first = text[:_MINUTE] + "00"
                minute = cache[first] if first in cache else self._converted(first)
                return None if minute is None else LocalTime(minute[0] + second * 1_000_000, minute[1], minute[2])
        return self._converted(text)

    def _converted(self, text: str) -> LocalTime | None:
        cache = self._cache
        wall = self._parse(text)
        result = None if wall is None else self.resolve(wall)
        if len(cache) >= CACHE_TIMES_MAX:
            cache = self._cache = {}  # other threads may still read the old one
        cache[text] = result
        return result

    def resolve(self, wall: datetime) -> LocalTime:
        """Return the UTC time of a naive local time by the module's rule."""
        first, second = self.offsets_s(wall)
        return LocalTime(epoch_us(wall, first), first, first > second)

    def choices(self, time: LocalTime | None, text: str) -> tuple[int, ...]:
        """Return every UTC time that `text`, converted to `time` before, may be: two at a clock set back, in order."""
        if time is None:
            return ()
        wall = self._parse(text) if time.ambiguous else None
        if wall is None:
            return (time.time_us,)
        first, second = self.offsets_s(wall)
        return (time.time_us, time.time_us + (first - second) * 1_000_000)

    def offsets_s(self, wall: datetime) -> tuple[int, int]:
        """Return the zone's offsets at `wall`, before and after a change; equal when no change is near."""
        first = wall.replace(tzinfo=self._zone, fold=0).utcoffset()
        second = wall.replace(tzinfo=self._zone, fold=1).utcoffset()
        assert first is not None and second is not None  # ZoneInfo always has an offset for a full datetime
        return int(first.total_seconds()), int(second.total_seconds())

    def offset_s(self, wall: datetime, abbreviation: str) -> int | None:
        """Return the offset that this zone calls by `abbreviation` at `wall`, or None if it never does then."""
        for fold in (0, 1):
            local = wall.replace(tzinfo=self._zone, fold=fold)
            if local.tzname() == abbreviation:
                offset = local.utcoffset()
                return None if offset is None else int(offset.total_seconds())
        return None

    def convert_column(self, texts: pa.Array[Any]) -> LocalTimes:
        """Convert a string column: an hour at a time, and each distinct text that this leaves by itself."""
        rows = len(texts)
        time, offset, ambiguous = np.zeros(rows, np.int64), np.zeros(rows, np.int32), np.zeros(rows, np.bool_)
        good, valid = np.zeros(rows, np.bool_), valid_mask(texts)
        if texts.type == pa.string() and self._parse is parse_iso:
            self._convert_hours(texts, valid, (time, offset, good))
        left = valid & ~good
        if left.any():
            encoded = texts.filter(pa.array(left))
            encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.dictionary_encode()
            distinct: list[Any] = encoded.dictionary.to_pylist()
            found = [self.convert(text) or _NO_TIME for text in distinct]
            table, codes = np.array(found, np.int64).reshape(-1, 3), np.asarray(encoded.indices)
            time[left], offset[left], ambiguous[left] = table[codes].T
            good[left] = np.array([one is not _NO_TIME for one in found])[codes]
        none = ~good
        return LocalTimes(
            pa.array(time, mask=none).view(TIME_TYPE),
            pa.array(offset, mask=none),
            pa.array(ambiguous, mask=none),
            valid & none,
        )

    def _convert_hours(self, texts: pa.Array[Any], valid: Mask, into: tuple[Ints, npt.NDArray[np.int32], Mask]) -> None:
        """Convert times of whole seconds, in hours throughout which the zone has one offset."""
        hours, seconds = _clocks(texts)
        formed = valid & (hours >= 0)
        rows: Any = slice(None)
        if not formed.all():
            rows = np.flatnonzero(formed)
            hours, seconds = hours[rows], seconds[rows]
            if not len(rows):
                return
        runs = np.flatnonzero(np.diff(hours, prepend=-1))
        distinct, which = np.unique(hours[runs], return_inverse=True)
        known = np.array([self._hour(int(one)) for one in distinct], np.int64).reshape(-1, 2)
        known = np.repeat(known[which], np.diff(runs, append=len(hours)), axis=0)
        plain = (known[:, 1] != _NEVER_S) & (seconds >= 0)
        time, offset, good = into
        times = (known[:, 0] + seconds) * 1_000_000
        if plain.all():
            time[rows], offset[rows], good[rows] = times, known[:, 1], True
            return
        chosen = np.flatnonzero(plain) if isinstance(rows, slice) else rows[plain]
        time[chosen], offset[chosen], good[chosen] = times[plain], known[plain, 1], True

    @property
    def is_iso(self) -> bool:
        """Whether it reads times written `YYYY-MM-DD HH:MM:SS`."""
        return self._parse is parse_iso

    def hours(self, figures: Ints) -> tuple[Ints, npt.NDArray[np.int32]] | None:
        """Return seconds since 1970 UTC and offsets of hours `YYYYMMDDHH`; None where one has no one offset."""
        known = np.array([self._hour(int(one)) for one in figures], np.int64).reshape(-1, 2)
        if (known[:, 1] == _NEVER_S).any():
            return None
        return known[:, 0].copy(), known[:, 1].astype(np.int32)

    def _hour(self, figures: int) -> tuple[int, int]:
        """Return seconds since 1970 UTC and offset of the hour `YYYYMMDDHH`; `_NEVER_S` where it has no one offset."""
        date, hour = divmod(figures, 100)
        wall = wall_time((date // 10_000, date // 100 % 100, date % 100), (hour, 0, 0))
        if wall is None:
            return 0, _NEVER_S
        first, then = self.offsets_s(wall), self.offsets_s(wall + _HOUR)
        if len({*first, *then}) > 1:
            return 0, _NEVER_S
        return epoch_us(wall, first[0]) // 1_000_000, first[0]


def _clocks(texts: pa.Array[Any]) -> tuple[Ints, Ints]:
    """Return the hour of each time of whole seconds as YYYYMMDDHH, -1 for others; and the seconds since it began.

    Seconds are -1 where the hour has no such minute or second.
    """
    offsets, data = text_views(texts)
    hours, seconds = np.full((2, len(texts)), -1, np.int64)
    if len(texts) >= CLOCKS_MIN and (native.is_loaded(_KERNELS) or len(texts) >= LOAD_CLOCKS_MIN):
        native.load(_KERNELS).clocks(np.ascontiguousarray(data), offsets, _ISO_FORM, _ISO_LIMIT, hours, seconds)
        return hours, seconds
    rows = np.flatnonzero(offsets[1:] - offsets[:-1] == _ISO_LENGTH)
    figures = data[offsets[rows][:, None] + np.arange(_ISO_LENGTH)] - _ISO_FORM
    formed = ~(figures > _ISO_LIMIT).any(axis=1)
    rows, figures = rows[formed], figures[formed].astype(np.int64)
    *date, minute, second = (figures[:, place] * 10 + figures[:, place + 1] for place in _ISO_PAIRS)
    hours[rows] = 0
    for pair in date:
        hours[rows] = hours[rows] * 100 + pair
    seconds[rows] = np.where((minute < 60) & (second < 60), minute * 60 + second, -1)
    return hours, seconds


def zone_times(
    source: SourceConfig, format_name: str, parse: Callable[[str], datetime | None] = parse_iso
) -> ZoneTimes:
    """Return the converter of a source's zone, for a format that writes local times without an offset.

    Raises:
        ConfigurationError: the source has no zone, or one that does not exist.
    """
    if source.zone is None:
        raise ConfigurationError(
            f"format {format_name} writes local times without an offset, and the source has no time zone",
            hint="set the source's zone to an IANA name such as Europe/Stockholm",
        )
    return ZoneTimes(source.zone, parse)


def offset_s(wall: datetime, abbreviation: str, zone: ZoneTimes | None = None) -> int | None:
    """Return the offset of a zone abbreviation written beside a time, in s.

    The source's zone decides first: it knows which of two meanings applies, and settles the autumn hour. Then the
    abbreviations of one meaning, and numeric ones (`+03`, `-0330`). None when it is unknown.
    """
    if zone is not None:
        own = zone.offset_s(wall, abbreviation)
        if own is not None:
            return own
    numeric = _NUMERIC_ZONE.fullmatch(abbreviation)
    if numeric is not None:
        sign, hours, minutes = numeric.groups()
        seconds = int(hours) * 3600 + int(minutes or "0") * 60
        return None if seconds > 14 * 3600 else (-seconds if sign == "-" else seconds)
    return _ABBREVIATIONS.get(abbreviation)
