"""Compiled loop that matches lines with shapes (ADR 38).

A shape is a row of steps that a line must take one by one, without a way back (`ingest.decoders.shapes`). What no shape
takes is left to the format's own reader of lines, which is the twin: what a shape takes, that reads the same.
Every byte is looked at within its line; a line has no padding.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from ingest.decoders.figure_kernels import figures, fraction, hexadecimal, ip, offset, quad, stamp
from ingest.decoders.word_kernels import inlined

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
FIELDS: Final = 16  # name=value, each behind a space: the names a to b of those known, values of the class c
WHEN: Final = 15  # a: class of the byte b further on; c: steps to leave out where it is of another
IP: Final = 17  # an address; the value is the number of an IPv4 one, else -1

REFUSED: Final = -2  # the kind of a field that no line may have
LAST: Final = -1  # the kind of a field before which the others end

_FIELD_BYTES_MAX: Final = 65
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
        return figures(data, at, end, 1, 18)
    if kind == HEXADECIMAL:
        return hexadecimal(data, at, end, 1, 15)
    if kind == QUAD:
        return quad(data, at, end)
    if kind == IP:
        return ip(data, at, end)
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


def _fields_of(
    data: Any, at: Any, end: Any, pool: Any, classes: Any, names: Any, bounds: Any, line: Any, out: Any
) -> Any:
    """Read ` name=value` up to the first name that is the last; return where they end, -1 where one has not its form.

    Names are 2 to 32 small letters and underscores. A known one that comes twice is left to the twin.
    """
    begins, ends, _ = out
    while at < end and data[at] == 0x20:
        space, name = at, at + 1
        at = name
        while at < end and ((data[at] >= 0x61 and data[at] <= 0x7A) or data[at] == 0x5F):
            at += 1
        size = at - name
        if size < 2 or size > 32 or at >= end or data[at] != 0x3D:
            return np.int64(-1)
        start = at + 1
        slot, kind = np.int64(-1), np.int64(0)
        for known in range(bounds[0], bounds[1]):
            if names[known, 1] == size and _stands(data, name, end, pool, names[known, 0], size):
                slot, kind = names[known, 3], names[known, 2]
                break
        if kind == LAST:
            return space
        at = start
        while at < end and classes[data[at]] & bounds[2] != 0:
            at += 1
        if at == start or at - start > _FIELD_BYTES_MAX or kind == REFUSED:
            return np.int64(-1)
        if slot >= 0:
            if begins[slot, line] >= 0:
                return np.int64(-1)
            begins[slot, line], ends[slot, line] = start, at
    return at


_fields: Any = inlined(_fields_of)


def _number_of(data: Any, base: Any, at: Any, end: Any, step: Any) -> Any:
    """Return where a step over a number, an address or a time ends, and what it is; -1 where none stands."""
    kind, a, b, c = step
    if kind == DIGITS:
        return figures(data, at, end, b, c)
    if kind == HEXADECIMAL:
        return hexadecimal(data, at, end, b, c)
    if kind == QUAD:
        return quad(data, at, end)
    if kind == STAMP:
        return stamp(data, base, at, end, a)
    if kind == FRACTION:
        return fraction(data, at, end, c)
    return offset(data, at, end)


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
        elif kind == IP:
            stop, value = ip(data, at, end)
        elif kind == UPTO:
            stop = _upto(data, at, end, classes, a, b)
        elif kind == PAIRS:
            stop, missed = _pairs(data, at, end, pool, classes, names, (a, b), line, out), np.int64(-2)
        elif kind == FIELDS:
            stop, missed = _fields(data, at, end, pool, classes, names, (a, b, c), line, out), np.int64(-2)
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
