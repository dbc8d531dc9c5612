"""Compiled reading of the values of one FreeSWITCH leg: encoding, texts, whole numbers, offsets (ADR 38).

The twin is `ingest.decoders.freeswitch.values`, and what of `ingest.decoders.freeswitch.json_cdr` reads values.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import date, high32, load8, load64, numba, number

# Variables of a leg, by their places.
START_STAMP: Final = 2
END_STAMP: Final = 3
ANSWER_STAMP: Final = 4
PROFILE_STAMP: Final = 5
CHANNEL: Final = 6
FROM_URI: Final = 7
TO_URI: Final = 8
REQ_URI: Final = 9
CONTACT_URI: Final = 10

ABSENT: Final = -(2**63)

MAYBE: Final = -1  # whether values are URL-encoded: the leg tells
PLAIN: Final = 0
ENCODED: Final = 1
UNKNOWN: Final = 2
STRANGE: Final = 3

_MILLISECONDS_MAX: Final = 1 << 40
_DIGITS_MAX: Final = 17
_OFFSET_MAX_S: Final = 50_400
_STAMP_BYTES: Final = len("2026-11-20 10:00:00")
_ENCODED_BYTES: Final = len("2026-11-20%2010%3A00%3A00")
_PERCENT: Final = 0x25
_COLON: Final = 0x3A
_BACKSLASH: Final = 0x5C
_U = np.uint64
_UNSAFE: Final = np.array([chr(byte) in '\r\n "#&+:;<=>?@[\\]^`{|}' for byte in range(256)], np.bool_)


_HEX: Final = np.array([int(chr(b), 16) if chr(b) in "0123456789abcdefABCDEF" else -1 for b in range(256)], np.int64)

helper: Any = numba.njit(nogil=True, error_model="numpy", _nrt=False)


def _has_of(at: Any, length: Any, byte: Any) -> Any:
    """Tell whether a byte is in a text."""
    found = False
    for place in range(length):
        found |= load8(at + place) == byte
    return found


has: Any = helper(_has_of)


def _has_escape_of(at: Any, length: Any, high: Any, low: Any) -> Any:
    """Tell whether a percent sign and these two characters are in a text."""
    for place in range(length - 2):
        if load8(at + place) == _PERCENT and load8(at + place + 1) == high and load8(at + place + 2) == low:
            return True
    return False


has_escape: Any = helper(_has_escape_of)


def _same_of(left: Any, left_bytes: Any, right: Any, right_bytes: Any) -> Any:
    """Tell whether two texts are equal."""
    if left_bytes != right_bytes:
        return False
    equal = True
    for place in range(left_bytes):
        equal &= load8(left + place) == load8(right + place)
    return equal


same: Any = helper(_same_of)


def _is_ascii_of(at: Any, length: Any) -> Any:
    for place in range(0, length, 32):
        high = high32(at + place)
        if length - place < 32:
            high &= (_U(1) << _U(length - place)) - _U(1)
        if high != _U(0):
            return False
    return True


is_ascii: Any = helper(_is_ascii_of)


def _encoding(base: Any, found: Any, spans: Any, count: Any) -> Any:
    """Tell whether a leg's values are URL-encoded: what `freeswitch_values.is_encoded` says.

    `spans` are the places of the texts of all variables, `count` so many.
    """
    for slot in (START_STAMP, END_STAMP, ANSWER_STAMP, PROFILE_STAMP):
        at, length = base + found[slot, 0], found[slot, 1]
        if length > 0:
            if has(at, length, 0x20) or has(at, length, _COLON):
                return PLAIN
            if has_escape(at, length, 0x32, 0x30) and has_escape(at, length, 0x33, 0x41):
                return ENCODED
    for index in range(count):
        at = base + spans[index, 0]
        for place in range(spans[index, 1]):
            byte = load8(at + place)
            if byte == _BACKSLASH:  # of an escape in JSON, of those that are tried here a slash alone is harmless
                after = load8(at + place + 1)
                if after == _BACKSLASH or after == 0x22 or after == 0x6E or after == 0x72:  # noqa: PLR1714 (compiled)
                    return PLAIN
                return STRANGE
            if _UNSAFE[byte]:
                return PLAIN
    for slot in (CHANNEL, FROM_URI, TO_URI, REQ_URI, CONTACT_URI):
        at, length = base + found[slot, 0], found[slot, 1]
        if length > 0 and (has_escape(at, length, 0x34, 0x30) or has_escape(at, length, 0x33, 0x41)):
            return ENCODED
    return UNKNOWN


encoding_of: Any = helper(_encoding)


def _plain_of(base: Any, memory: Any, found: Any, slot: Any, encoding: Any, scratch: Any) -> Any:
    """Return a variable's plain text (place, length; length -1 when it is left to the twin) and what is left of memory.

    What had to be decoded is written to `scratch`.
    """
    start, length = found[slot, 0], found[slot, 1]
    at = base + start
    if encoding == PLAIN or length < 3 or not has(at, length, _PERCENT):
        return start, length, scratch
    if encoding == UNKNOWN:  # only a number behind %2B is one for certain
        if load8(at) != _PERCENT or load8(at + 1) != 0x32 or load8(at + 2) != 0x42 or length < 4:
            return start, length, scratch
        for place in range(3, length):
            if load8(at + place) < 0x30 or load8(at + place) > 0x39:
                return start, length, scratch
    into, place = scratch, 0
    while place < length:
        byte: Any = np.int64(load8(at + place))
        if byte == _PERCENT:
            if length - place < 3:
                return start, np.int64(-1), scratch
            high, low = _HEX[load8(at + place + 1)], _HEX[load8(at + place + 2)]
            byte = high * 16 + low
            if high < 0 or low < 0 or byte < 0x20 or byte >= 0x7F:
                return start, np.int64(-1), scratch
            place += 2
        memory[into] = byte
        into += 1
        place += 1
    return scratch, into - scratch, into


plain: Any = helper(_plain_of)


def _whole_of(base: Any, found: Any, slot: Any) -> Any:
    """Return a whole number, 0 where there is none; -1 when it is left to the twin."""
    length = found[slot, 1]
    if length == 0:
        return np.int64(0)
    return number(base + found[slot, 0], length) if length <= _DIGITS_MAX else np.int64(-1)


whole: Any = helper(_whole_of)


def _milliseconds_of(base: Any, found: Any, milli: Any, micro: Any, seconds: Any) -> Any:
    """Return a duration, ABSENT when there is none, -1 when it is left to the twin."""
    if found[milli, 1] > 0:
        value = whole(base, found, milli)
    elif found[micro, 1] > 0:
        value = whole(base, found, micro)
        value = value // 1000 if value >= 0 else value
    elif found[seconds, 1] > 0:
        value = whole(base, found, seconds)
        value = value * 1000 if 0 <= value < _MILLISECONDS_MAX else -1
    else:
        return np.int64(ABSENT)
    return value if value < _MILLISECONDS_MAX else np.int64(-1)


milliseconds: Any = helper(_milliseconds_of)


def _two_of(at: Any) -> Any:
    """Return the number of two digits, -1 when there are none."""
    tens, units = np.int64(load8(at)) - 48, np.int64(load8(at + 1)) - 48
    return tens * 10 + units if 0 <= tens <= 9 and 0 <= units <= 9 else np.int64(-1)


two: Any = helper(_two_of)


def _offset(base: Any, found: Any, start_us: Any) -> Any:
    """Return the offset of the switch's local time, ABSENT when there is none, -1 when it is left to the twin."""
    at, length = base + found[START_STAMP, 0], found[START_STAMP, 1]
    if found[START_STAMP, 0] == 0:
        return np.int64(ABSENT)
    if length == _STAMP_BYTES:
        good = load8(at + 10) == 0x20 and load8(at + 13) == _COLON and load8(at + 16) == _COLON
        hour, minute, second = two(at + 11), two(at + 14), two(at + 17)
    elif length == _ENCODED_BYTES:
        good = (
            (load64(at + 10) & _U(0xFFFFFF)) == _U(0x303225)
            and (load64(at + 15) & _U(0xFFFFFF)) == _U(0x413325)
            and (load64(at + 20) & _U(0xFFFFFF)) == _U(0x413325)
        )
        hour, minute, second = two(at + 13), two(at + 18), two(at + 23)
    else:
        return np.int64(-1)
    day_us = date(at)
    if not good or day_us < 0 or hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0:
        return np.int64(-1)
    difference = day_us // 1_000_000 + hour * 3600 + minute * 60 + second - start_us // 1_000_000
    quarters = difference // 900
    rest = difference - quarters * 900
    quarters += np.int64(rest > 450 or (rest == 450 and quarters & 1 == 1))
    if quarters * 900 > _OFFSET_MAX_S or quarters * 900 < -_OFFSET_MAX_S:
        return np.int64(ABSENT)
    return quarters * 900


offset_of: Any = helper(_offset)
