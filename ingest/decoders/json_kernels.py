"""Compiled search for the values of JSON objects that all look alike, one a line (ADR 7).

What writes NDJSON writes the same names in the same order with the same spaces, line after line. So a line is the
marks between the values, compared byte by byte with those of the first line, and the values: texts without escapes,
whole numbers, null. A line that is anything else ends the search.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import (
    backslashes32,
    controls32,
    ctz,
    high32,
    load8,
    load32,
    load64,
    no_digits32,
    numba,
    quotes32,
)

BARE: Final = 1  # a column may hold whole numbers
EMPTY: Final = 2  # an empty text of a column says as much as null

LINE_BYTES_MAX: Final = 1 << 19
TEXT_BYTES_MAX: Final = 1 << 16
_DIGITS_MAX: Final = 18
_NULL: Final = 0x6C6C_756E
_QUOTE: Final = 0x22
_MINUS: Final = 0x2D
_ZERO: Final = 0x30
_NEWLINE: Final = 0x0A
_RETURN: Final = 0x0D
_SPACE: Final = 0x20
_TAB: Final = 0x09
_DOT: Final = 0x2E
_TRUE: Final = 0x6575_7274
_FALSE: Final = 0x736C_6166
_U = np.uint64
_PLAIN_ESCAPE: Final = np.array([chr(byte) in '"\\/bfnrt' for byte in range(256)], np.bool_)
_HEX: Final = np.array([chr(byte) in "0123456789abcdefABCDEF" for byte in range(256)], np.bool_)

compiled: Any = numba.njit(nogil=True, error_model="numpy")


def _match(at: Any, marks: Any, begin: Any, end: Any) -> Any:
    """Tell whether the bytes at an address are `marks[begin:end]`; behind the last one are 8 bytes more."""
    place = begin
    while place < end:
        difference = load64(at + place - begin) ^ load64(marks + place)
        if end - place < 8:
            difference <<= _U(8 * (8 - (end - place)))
        if difference != _U(0):
            return False
        place += 8
    return True


_match_of: Any = numba.njit(nogil=True, forceinline=True, error_model="numpy")(_match)


def _text_length(at: Any) -> Any:
    """Return (bytes up to the quote, whether some are not ASCII); -1 when an escape or a control byte comes before."""
    length, wild = np.int64(0), _U(0)
    while length < LINE_BYTES_MAX:
        quotes = quotes32(at + length)
        stops = quotes | backslashes32(at + length) | controls32(at + length)
        wild |= high32(at + length)
        if stops != _U(0):
            first = np.int64(ctz(stops))
            good = (quotes >> _U(first)) & _U(1) != _U(0)
            return (length + first if good else np.int64(-1)), wild
        length += 32
    return np.int64(-1), wild


_text_length_of: Any = numba.njit(nogil=True, forceinline=True, error_model="numpy")(_text_length)


def _whole_length(at: Any) -> Any:
    """Return the bytes of a whole number as JSON writes it; 0 when there is none, or it is too long."""
    sign = np.int64(load8(at) == _MINUS)
    count = np.int64(ctz(no_digits32(at + sign)))
    if count < 1 or count > _DIGITS_MAX or (load8(at + sign) == _ZERO and count + sign > 1):
        return np.int64(0)
    return sign + count


_whole_length_of: Any = numba.njit(nogil=True, forceinline=True, error_model="numpy")(_whole_length)


def _find_values(
    base: Any, position: Any, size: Any, ends: Any, most: Any, columns: Any, taken: Any, marks: Any, places: Any
) -> Any:
    """Write where the values of lines are to `ends`, two places for each: the one before it, and the one behind it.

    Args:
        base: address of the block's first byte.
        position: where in the block to begin.
        size: bytes of the block.
        ends: int64, room for `most` lines.
        most: lines to read.
        columns: values in a line.
        taken: int64 per column, BARE and EMPTY.
        marks: address of the bytes between the values, one after the other, 8 more behind them.
        places: int64, where in them those before each value begin, those behind the last one, and their end.

    Returns:
        Lines read (-1: one is different), the place behind them, whether some byte may not be ASCII.
    """
    rows, high = np.int64(0), False
    while rows < most and position < size:
        begin = position
        for column in range(columns):
            if not _match_of(base + position, marks, places[column], places[column + 1]):
                return np.int64(-1), position, high
            position += places[column + 1] - places[column]
            start = position
            if load8(base + position) == _QUOTE:
                start += 1
                length, wild = _text_length_of(base + start)
                high |= wild != _U(0)
                if length < 0 or (length == 0 and not taken[column] & EMPTY):
                    return np.int64(-1), position, high
                position = start + length + 1
            elif load32(base + position) == _NULL:
                length = np.int64(0)
                position += 4
            else:
                length = _whole_length_of(base + position)
                if length == 0 or not taken[column] & BARE:
                    return np.int64(-1), position, high
                position += length
            place = 2 * (rows * columns + column)
            ends[place], ends[place + 1] = start - 1, start + length
        if not _match_of(base + position, marks, places[columns], places[columns + 1]):
            return np.int64(-1), position, high
        position += places[columns + 1] - places[columns]
        if load8(base + position) == _RETURN:
            position += 1
        if position >= size or load8(base + position) != _NEWLINE or position - begin > LINE_BYTES_MAX:
            return np.int64(-1), position, high
        position += 1
        rows += 1
    return rows, position, high


find_values: Any = numba.njit(nogil=True, error_model="numpy")(_find_values)


def _string(at: Any) -> Any:
    """Return (bytes up to the quote, whether there are escapes, whether some are not ASCII); -1: it is none."""
    length, escaped, wild = np.int64(0), False, _U(0)
    while length < TEXT_BYTES_MAX:
        quotes, slashes = quotes32(at + length), backslashes32(at + length)
        stops = quotes | slashes | controls32(at + length)
        wild |= high32(at + length)
        if stops == _U(0):
            length += 32
            continue
        first = np.int64(ctz(stops))
        length += first
        if (quotes >> _U(first)) & _U(1) != _U(0):
            return length, escaped, wild != _U(0)
        if (slashes >> _U(first)) & _U(1) == _U(0):
            break
        escaped = True
        after = load8(at + length + 1)
        if _PLAIN_ESCAPE[after]:
            length += 2
        elif after == 0x75:
            for place in range(2, 6):
                if not _HEX[load8(at + length + place)]:
                    return np.int64(-1), escaped, False
            if (load8(at + length + 2) | 0x20) == 0x64 and load8(at + length + 3) >= 0x38:  # half of a pair
                break
            length += 6
        else:
            break
    return np.int64(-1), escaped, False


string: Any = compiled(_string)


def _bare(at: Any) -> Any:
    """Return the bytes of a number, `true`, `false` or `null`; -1 when there is none."""
    word = load32(at)
    if word in (_NULL, _TRUE):
        return np.int64(4)
    if word == _FALSE:
        return np.int64(5) if load8(at + 4) == 0x65 else np.int64(-1)
    length = np.int64(load8(at) == _MINUS)
    count = np.int64(ctz(no_digits32(at + length)))
    if count < 1 or count > _DIGITS_MAX or (count > 1 and load8(at + length) == _ZERO):
        return np.int64(-1)
    length += count
    if load8(at + length) == _DOT:
        count = np.int64(ctz(no_digits32(at + length + 1)))
        if count < 1 or count > _DIGITS_MAX:
            return np.int64(-1)
        length += 1 + count
    return length


bare: Any = compiled(_bare)


def _behind_blanks(at: Any) -> Any:
    while load8(at) == _SPACE or load8(at) == _TAB:
        at += 1
    return at


behind_blanks: Any = compiled(_behind_blanks)
