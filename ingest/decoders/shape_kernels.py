"""Compiled loop that matches lines with shapes (ADR 38).

A shape is a row of steps that a line must take one by one, without a way back (`ingest.decoders.shapes`). What no shape
takes is left to the format's own reader of lines, which is the twin: what a shape takes, that reads the same.
Every byte is looked at within its line; a line has no padding.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import date, inlined

numba: Any = importlib.import_module("numba")
types: Any = importlib.import_module("numba.core.types")

# Steps: [step, a, b, c, slot].
LITERAL: Final = 0  # a, b: slice of the pool
OPTION: Final = 1  # a, b: slice of the pool; c: steps to leave out where it does not stand here
SPAN: Final = 2  # a: class of bytes, b to c of them
DIGITS: Final = 3  # b to c digits, no zero first; the value is the number
HEXADECIMAL: Final = 4  # b to c digits; the value is the number
QUAD: Final = 5  # an IPv4 address; the value is the number
STAMP: Final = 6  # a date, the byte a, a time of the day; the value is µs since 1970
FRACTION: Final = 7  # 1 to c digits; the value is µs
OFFSET: Final = 8  # Z, +hh:mm, -hh:mm; the value is seconds
UPTO: Final = 9  # to the first byte a of printable ASCII, b back, where a word begins
PAIRS: Final = 10  # name="value", each behind a space: the names a to b of those known
END: Final = 11
BEGIN: Final = 12  # the slot's slice begins
CLOSE: Final = 13  # and ends
SKIP: Final = 14  # so many bytes as the value of the slot says
WHEN: Final = 15  # a: class of the byte b further on; c: steps to leave out where it is of another

_ZERO: Final = 0x30
_DAY_MINUTES_MAX: Final = 14 * 60
_DATE_BYTES: Final = 10
_STAMP_BYTES: Final = 19
_ANY: Final = np.int64(1)
"""The class of printable ASCII."""

_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_ONES: Final = types.Array(types.int64, 1, "C", readonly=True)
_TWOS: Final = types.Array(types.int64, 2, "C", readonly=True)
_OUT: Final = types.Array(types.int64, 1, "C")
_OUTS: Final = types.Array(types.int64, 2, "C")


def _stands_of(data: Any, at: Any, end: Any, pool: Any, first: Any, size: Any) -> Any:
    """Tell whether a literal stands at a place."""
    if end - at < size:
        return False
    place = 0
    while place < size and data[at + place] == pool[first + place]:
        place += 1
    return place == size


_stands: Any = inlined(_stands_of)


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


_figures: Any = inlined(_figures_of)


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


_hexadecimal: Any = inlined(_hexadecimal_of)


def _quad_of(data: Any, at: Any, end: Any) -> Any:
    """Return where a dotted quad without leading zeros ends, and its number; -1 where there is none."""
    value = np.int64(0)
    for octet in range(4):
        if octet:
            if at >= end or data[at] != 0x2E:
                return np.int64(-1), value
            at += 1
        stop, part = _figures(data, at, end, 1, 3)
        if stop < 0 or part > 255:
            return np.int64(-1), value
        value, at = value * 256 + part, stop
    return at, value


_quad: Any = inlined(_quad_of)


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


_stamp: Any = inlined(_stamp_of)


def _fraction_of(data: Any, at: Any, end: Any, most: Any) -> Any:
    stop, value = _digits(data, at, end, most)
    count = stop - at
    while count < 6:
        value, count = value * 10, count + 1
    while count > 6:
        value, count = value // 10, count - 1
    return stop if stop > at else np.int64(-1), value


_fraction: Any = inlined(_fraction_of)


def _offset_of(data: Any, at: Any, end: Any) -> Any:
    if at < end and data[at] == 0x5A:
        return at + 1, np.int64(0)
    if end - at < 6 or (data[at] != 0x2B and data[at] != 0x2D) or data[at + 3] != 0x3A:
        return np.int64(-1), np.int64(0)
    minutes = _pair(data, at + 1) * 60 + _pair(data, at + 4)
    if minutes > _DAY_MINUTES_MAX:
        return np.int64(-1), np.int64(0)
    return at + 6, minutes * 60 if data[at] == 0x2B else -minutes * 60


_offset: Any = inlined(_offset_of)


def _is_word(octet: Any) -> Any:
    low = octet | 0x20
    return (octet >= 0x30 and octet <= 0x39) or (low >= 0x61 and low <= 0x7A) or octet == 0x5F


_word: Any = inlined(_is_word)


def _upto_of(data: Any, at: Any, end: Any, classes: Any, octet: Any, back: Any) -> Any:
    """Return where the word begins that has a byte so many behind its beginning; -1 where none has."""
    start = at
    while at < end and data[at] != octet:
        if classes[data[at]] & _ANY == 0:
            return np.int64(-1)
        at += 1
    at -= back
    if at + back >= end or at < start or (at > start and _word(data[at - 1])):
        return np.int64(-1)
    return at


_upto: Any = inlined(_upto_of)


def _value_of(data: Any, at: Any, end: Any, kind: Any) -> Any:
    """Return where a quoted value ends that is a number, an address or just text, and its number."""
    if kind == DIGITS:
        return _figures(data, at, end, 1, 18)
    if kind == HEXADECIMAL:
        return _hexadecimal(data, at, end, 1, 15)
    if kind == QUAD:
        return _quad(data, at, end)
    return at, np.int64(0)


_value: Any = inlined(_value_of)


def _pairs_of(
    data: Any, at: Any, end: Any, pool: Any, classes: Any, names: Any, bounds: Any, line: Any, out: Any
) -> Any:
    """Read ` name="value"` as often as it stands; return where it ends, -1 where a known value has not its form.

    Values hold printable ASCII. A known name that comes twice is left to the twin.
    """
    begins, ends, values = out
    while at < end and data[at] == 0x20:
        name = at + 1
        at = name
        while at < end and (
            (data[at] >= 0x61 and data[at] <= 0x7A) or data[at] == 0x2D or (data[at] >= 0x30 and data[at] <= 0x39)
        ):
            at += 1
        size = at - name
        if size == 0 or data[name] < 0x61 or end - at < 2 or data[at] != 0x3D or data[at + 1] != 0x22:
            return np.int64(-1)
        at += 2
        start = at
        while at < end and data[at] != 0x22:
            if classes[data[at]] & _ANY == 0:
                return np.int64(-1)
            at += 1
        if at >= end:
            return np.int64(-1)
        for known in range(bounds[0], bounds[1]):
            if names[known, 1] == size and _stands(data, name, end, pool, names[known, 0], size):
                slot, kind = names[known, 3], names[known, 2]
                stop, value = _value(data, start, at, kind)
                if begins[slot, line] >= 0 or (kind != SPAN and stop != at):
                    return np.int64(-1)
                begins[slot, line], ends[slot, line], values[slot, line] = start, at, value
                break
        at += 1
    return at


_pairs: Any = inlined(_pairs_of)


def _number_of(data: Any, base: Any, at: Any, end: Any, step: Any) -> Any:
    """Return where a step over a number, an address or a time ends, and what it is; -1 where none stands."""
    kind, a, b, c = step
    if kind == DIGITS:
        return _figures(data, at, end, b, c)
    if kind == HEXADECIMAL:
        return _hexadecimal(data, at, end, b, c)
    if kind == QUAD:
        return _quad(data, at, end)
    if kind == STAMP:
        return _stamp(data, base, at, end, a)
    if kind == FRACTION:
        return _fraction(data, at, end, c)
    return _offset(data, at, end)


_number: Any = inlined(_number_of)


def _taken_of(
    data: Any, base: Any, at: Any, end: Any, steps: Any, tables: Any, line: Any, first: Any, last: Any, out: Any
) -> Any:
    """Return where the steps `first:last` end; where the line does not take them -1, or -2 when slots were filled."""
    pool, classes, names = tables
    begins, ends, values = out
    step, missed = first, np.int64(-1)
    while step < last:
        kind, a, b, c, slot = steps[step, 0], steps[step, 1], steps[step, 2], steps[step, 3], steps[step, 4]
        step += 1
        start, value, stop = at, np.int64(0), at
        if kind == LITERAL:
            stop = at + b if _stands(data, at, end, pool, a, b) else np.int64(-1)
        elif kind == OPTION:
            if _stands(data, at, end, pool, a, b):
                stop = at + b
            else:
                step += c
        elif kind == WHEN:
            if at + b >= end or classes[data[at + b]] & a == 0:
                step += c
        elif kind == SPAN:
            while stop < end and stop - at < c and classes[data[stop]] & a != 0:
                stop += 1
            stop = stop if stop - at >= b else np.int64(-1)
        elif kind >= DIGITS and kind <= OFFSET:
            stop, value = _number(data, base, at, end, (kind, a, b, c))
        elif kind == UPTO:
            stop = _upto(data, at, end, classes, a, b)
        elif kind == PAIRS:
            stop, missed = _pairs(data, at, end, pool, classes, names, (a, b), line, out), np.int64(-2)
        elif kind == END:
            stop = at if at == end else np.int64(-1)
        elif kind == SKIP:
            stop = at + values[slot, line] if values[slot, line] <= end - at else np.int64(-1)
        elif kind == BEGIN:
            begins[slot, line], missed = at, np.int64(-2)
            continue
        elif kind == CLOSE:
            ends[slot, line] = at
            continue
        if stop < 0:
            return missed
        if slot >= 0 and kind != SKIP:
            begins[slot, line], ends[slot, line], values[slot, line] = start, stop, value
            missed = np.int64(-2)
        at = stop
    return at


_taken: Any = inlined(_taken_of)


def _match_of(
    data: Any,
    base: Any,
    starts: Any,
    limits: Any,
    steps: Any,
    bounds: Any,
    pool: Any,
    classes: Any,
    names: Any,
    which: Any,
    stops: Any,
    begins: Any,
    ends: Any,
    values: Any,
) -> None:
    """Tell which shape each line takes, -1 for none, and where its slots stand.

    The shape of the line before is tried first, then those next to it: shapes that take the same line read it the same.

    Args:
        data: the block, `base` its address.
        starts, limits: lines; one that begins below 0 is left out.
        steps: of all shapes; shape `n` has `bounds[n]:bounds[n + 1]`.
        pool: literals and names.
        classes: per byte a bit for each class that it is of.
        names: of pairs: place and size in the pool, kind, slot.
        which, stops: per line its shape, and where that ended.
        begins, ends, values: per slot and line; -1 on entry, 0, 0.
    """
    shapes, likely = len(bounds) - 1, 0
    for line in range(len(starts)):
        which[line] = -1
        if starts[line] < 0:
            continue
        for turn in range(shapes):
            near = (turn + 1) // 2
            shape = (likely + (near if turn & 1 else shapes - near)) % shapes
            stop = _taken(
                data,
                base,
                starts[line],
                limits[line],
                steps,
                (pool, classes, names),
                line,
                bounds[shape],
                bounds[shape + 1],
                (begins, ends, values),
            )
            if stop >= 0:
                which[line], stops[line], likely = shape, stop, shape
                break
            if stop < -1:
                for slot in range(begins.shape[0]):
                    begins[slot, line], values[slot, line] = -1, 0


match: Any = numba.njit(
    types.void(_BYTES, types.int64, _ONES, _ONES, _TWOS, _ONES, _BYTES, _ONES, _TWOS, _OUT, _OUT, _OUTS, _OUTS, _OUTS),
    nogil=True,
)(_match_of)
