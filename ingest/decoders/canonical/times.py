"""RFC 3339 times of the canonical formats, a column at a time.

Taken: `2026-11-01 13:45:12`, with `T` or a space, up to nine digits of a fraction (cut to microseconds), and `Z`, an
offset (`+01:00`, `+0100`), or nothing. A time without offset is local in the source's zone, by the rule of
`ingest.times`; without a zone it is bad. A leap second is bad: no other part of the road has one.

Source: RFC 3339 §5.6.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.times import ZoneTimes
from schemas.arrow import TIME_TYPE
from schemas.buffers import Column, Ints, Mask, as_text, flags, flat, pc, text_views, valid_mask, values_int64

_SHORTEST: Final = len("2026-11-01T13:45:12Z")
_FORM: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?$"
)
_ZULU: Final = "[Zz]$"
_OFFSET: Final = "[+-][0-9]{2}:?[0-9]{2}$"
_SLOT_US: Final = 900_000_000  # clocks change at quarters of an hour
_OFFSET_MAX_S: Final = 18 * 3600
_WALL_MAX_US: Final = 200 * 366 * 86_400_000_000  # later, no zone needs to be asked
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (naive on purpose: arithmetic on wall-clock times)


class ParsedTimes(NamedTuple):
    """A column of times. `offsets_s` is null for times in UTC; both it and `ambiguous` are None when no row has any."""

    times: Column  # TIME_TYPE
    offsets_s: Column | None  # int32
    ambiguous: Column | None  # bool
    bad: Mask


def parse_times(column: Column, zone: str | None) -> ParsedTimes:
    """Read a column of times, texts or timestamps of any unit; bad rows are null, and told."""
    column = flat(column)
    if pa.types.is_timestamp(column.type):
        return _from_timestamps(column, zone)
    text = as_text(column)
    rows = len(text)
    if text.null_count == rows:
        return ParsedTimes(pa.nulls(rows, TIME_TYPE), None, None, flags(rows))
    if _all_zulu(text):
        try:
            return ParsedTimes(pc.cast(text, TIME_TYPE), None, None, flags(rows))
        except pa.ArrowInvalid:
            pass  # some row is bad, or has more than six digits: the other road tells which
    return _parse_mixed(text, zone)


def _all_zulu(text: Column) -> bool:
    offsets, data = text_views(text)
    ends = offsets[1:]
    lengths = ends - offsets[:-1]
    if text.null_count:
        valid = valid_mask(text)
        ends, lengths = ends[valid], lengths[valid]
    return bool(lengths.min() >= _SHORTEST and (data.take(ends - 1) == ord("Z")).all())


def _parse_mixed(text: Column, zone: str | None) -> ParsedTimes:
    rows = len(text)
    valid = valid_mask(text)
    formed = _true(pc.match_substring_regex(text, _FORM))
    zulu = formed & _true(pc.match_substring_regex(text, _ZULU))
    offset = formed & ~zulu & _true(pc.match_substring_regex(text, _OFFSET))
    local = formed & ~zulu & ~offset
    # Arrow wants T and Z as capitals and no more digits than the unit has.
    text = pc.replace_substring_regex(pc.utf8_upper(text), r"(\.[0-9]{6})[0-9]+", r"\1")
    time = np.zeros(rows, np.int64)
    good = flags(rows)
    for mask, kind in ((zulu | offset, TIME_TYPE), (local, pa.timestamp("us"))):
        chosen = np.flatnonzero(mask)
        if len(chosen):
            time[chosen], good[chosen] = _cast(text.take(pa.array(chosen)), kind)
    offsets_s, told = np.zeros(rows, np.int32), offset & good
    if told.any():
        offsets_s[told] = _offset_seconds(text.filter(pa.array(told)))
        wild = told & (np.abs(offsets_s) > _OFFSET_MAX_S)
        good &= ~wild
        told &= ~wild
    return _settled(_Rows(time, valid, good, offsets_s, told), local & good, zone)


def _from_timestamps(column: Column, zone: str | None) -> ParsedTimes:
    """Bring timestamps to microseconds; those without zone are local times."""
    rows = len(column)
    valid = valid_mask(column)
    values = np.where(valid, values_int64(column), 0)
    good = valid.copy()
    if column.type.unit == "ns":
        values = values // 1_000
    elif column.type.unit != "us":
        factor = 1_000 if column.type.unit == "ms" else 1_000_000
        good &= np.abs(values) < 2**62 // factor
        values = np.where(good, values, 0) * factor
    local = good & (np.abs(values) < _WALL_MAX_US) if column.type.tz is None else flags(rows)
    if column.type.tz is None:
        good &= local
    return _settled(_Rows(values, valid, good, np.zeros(rows, np.int32), flags(rows)), local, zone)


class _Rows(NamedTuple):
    """Rows on their way: µs (of the wall clock where local), which are valid and good, and offsets told so far."""

    time: Ints
    valid: Mask
    good: Mask
    offsets_s: npt.NDArray[np.int32]
    told: Mask


def _settled(rows: _Rows, local: Mask, zone: str | None) -> ParsedTimes:
    """Bring local times to UTC, and return the column."""
    time, valid, good, offsets_s, told = rows
    ambiguous = flags(len(time))
    if local.any():
        if zone is None:
            good &= ~local
        else:
            offsets_s[local], ambiguous[local] = _local_offsets(time[local], zone)
            time[local] -= offsets_s[local].astype(np.int64) * 1_000_000
            told |= local
    times: Column = pa.array(time) if good.all() else pa.array(time, mask=~good)
    return ParsedTimes(
        times.view(TIME_TYPE),
        pa.array(offsets_s, mask=~told) if told.any() else None,
        pa.array(ambiguous) if ambiguous.any() else None,
        valid & ~good,
    )


def _true(mask: Column) -> Mask:
    return np.asarray(pc.fill_null(mask, False), np.bool_)


def _cast(text: Column, kind: pa.DataType) -> tuple[Ints, Mask]:
    """Return the values and which rows the calendar has, halving until what it does not have stands alone."""
    try:
        return values_int64(pc.cast(text, kind)), flags(len(text), value=True)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return np.zeros(1, np.int64), flags(1)
    half = len(text) // 2
    first, second = _cast(text.slice(0, half), kind), _cast(text.slice(half), kind)
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def _offset_seconds(text: Column) -> Ints:
    digits = pc.replace_substring(pc.utf8_slice_codeunits(text, -6), ":", "")
    tail = pc.cast(pc.utf8_slice_codeunits(digits, -4), pa.int64())
    sign: Ints = np.where(np.asarray(pc.equal(pc.utf8_slice_codeunits(digits, -5, -4), "-")), -1, 1)
    value = np.asarray(tail, np.int64)
    seconds: Ints = sign * (value // 100 * 3600 + value % 100 * 60)
    return seconds


def _local_offsets(wall_us: Ints, zone: str) -> tuple[Ints, Mask]:
    """Return each local time's offset in s, and whether it occurs twice; the zone is asked once a quarter-hour."""
    converter = ZoneTimes(zone)
    slots, back = np.unique(wall_us // _SLOT_US, return_inverse=True)
    pairs = [converter.offsets_s(_EPOCH + timedelta(microseconds=int(slot) * _SLOT_US)) for slot in slots]
    first = np.array([pair[0] for pair in pairs], np.int64)
    twice = np.array([pair[0] > pair[1] for pair in pairs], np.bool_)
    return first[back], twice[back]
