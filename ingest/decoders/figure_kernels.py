"""Compiled helpers that read numbers, addresses and times of a line, byte by byte within its end (ADR 7).

Each returns where the text ends and its value; -1 where it has not the form. `word_kernels` reads whole words, and
needs padding.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import date, inlined

_ZERO: Final = 0x30
_DOT: Final = 0x2E
_SLASH: Final = 0x2F
_COLON: Final = 0x3A
_IP_BYTES_MAX: Final = 45
_DAY_MINUTES_MAX: Final = 14 * 60
_DATE_BYTES: Final = 10
_STAMP_BYTES: Final = 19


def _digits_of(data: Any, at: Any, end: Any, most: Any) -> Any:
    """Return where the digits at a place end, and their number."""
    value, start = np.int64(0), at
    while at < end and at - start < most:
        digit = np.int64(data[at]) - _ZERO
        if digit < 0 or digit > 9:
            break
        value = value * 10 + digit
        at += 1
    return at, value


_digits: Any = inlined(_digits_of)


def _figures_of(data: Any, at: Any, end: Any, least: Any, most: Any) -> Any:
    """Return where a number without zeros before it ends, and the number; -1 where there is none."""
    stop, value = _digits(data, at, end, most)
    if stop - at < least or (stop - at > 1 and data[at] == _ZERO):
        return np.int64(-1), value
    return stop, value


figures: Any = inlined(_figures_of)


def _hexadecimal_of(data: Any, at: Any, end: Any, least: Any, most: Any) -> Any:
    value, start = np.int64(0), at
    while at < end and at - start < most:
        octet = np.int64(data[at])
        low = octet | 0x20
        if octet >= _ZERO and octet <= 0x39:
            value = value * 16 + octet - _ZERO
        elif low >= 0x61 and low <= 0x66:
            value = value * 16 + low - 0x57
        else:
            break
        at += 1
    return at if at - start >= least else np.int64(-1), value


hexadecimal: Any = inlined(_hexadecimal_of)


def _quad_of(data: Any, at: Any, end: Any) -> Any:
    """Return where a dotted quad without leading zeros ends, and its number; -1 where there is none."""
    value = np.int64(0)
    for octet in range(4):
        if octet:
            if at >= end or data[at] != 0x2E:
                return np.int64(-1), value
            at += 1
        stop, part = figures(data, at, end, 1, 3)
        if stop < 0 or part > 255:
            return np.int64(-1), value
        value, at = value * 256 + part, stop
    return at, value


quad: Any = inlined(_quad_of)


def _ip_of(data: Any, at: Any, end: Any) -> Any:
    """Return where an address ends, and the number of an IPv4 one; of what looks like IPv6, -1."""
    stop, value = quad(data, at, end)
    if stop >= 0:
        return stop, value
    start, colons = at, 0
    while at < end and at - start < _IP_BYTES_MAX:
        octet = np.int64(data[at])
        low = octet | 0x20
        if not ((octet >= _DOT and octet <= _COLON and octet != _SLASH) or (low >= 0x61 and low <= 0x66)):
            break
        colons += octet == _COLON
        at += 1
    return at if colons >= 2 else np.int64(-1), np.int64(-1)


ip: Any = inlined(_ip_of)


def _pair_of(data: Any, at: Any) -> Any:
    """Return the number of two digits; beyond 99 where they are none."""
    high, low = np.int64(data[at]) - _ZERO, np.int64(data[at + 1]) - _ZERO
    if high < 0 or high > 9 or low < 0 or low > 9:
        return np.int64(1000)
    return high * 10 + low


_pair: Any = inlined(_pair_of)


def _stamp_of(data: Any, base: Any, at: Any, end: Any, between: Any) -> Any:
    """Return where a date and a time of the day end, and their µs since 1970; -1 where no calendar has them."""
    if end - at < _STAMP_BYTES or data[at + _DATE_BYTES] != between:
        return np.int64(-1), np.int64(0)
    day = date(base + at)
    hour, minute, second = _pair(data, at + 11), _pair(data, at + 14), _pair(data, at + 17)
    if day < 0 or data[at + 13] != 0x3A or data[at + 16] != 0x3A or hour > 23 or minute > 59 or second > 59:
        return np.int64(-1), np.int64(0)
    return at + _STAMP_BYTES, day + ((hour * 60 + minute) * 60 + second) * 1_000_000


stamp: Any = inlined(_stamp_of)


def _fraction_of(data: Any, at: Any, end: Any, most: Any) -> Any:
    stop, value = _digits(data, at, end, most)
    count = stop - at
    while count < 6:
        value, count = value * 10, count + 1
    while count > 6:
        value, count = value // 10, count - 1
    return stop if stop > at else np.int64(-1), value


fraction: Any = inlined(_fraction_of)


def _offset_of(data: Any, at: Any, end: Any) -> Any:
    if at < end and data[at] == 0x5A:
        return at + 1, np.int64(0)
    if end - at < 6 or (data[at] != 0x2B and data[at] != 0x2D) or data[at + 3] != 0x3A:
        return np.int64(-1), np.int64(0)
    minutes = _pair(data, at + 1) * 60 + _pair(data, at + 4)
    if minutes > _DAY_MINUTES_MAX:
        return np.int64(-1), np.int64(0)
    return at + 6, minutes * 60 if data[at] == 0x2B else -minutes * 60


offset: Any = inlined(_offset_of)
