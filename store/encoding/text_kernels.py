"""Compiled loops over texts of one template (ADR 7): texts to numbers, numbers to words of bits, and texts again.

`store.encoding.texts` explains them; its `written`, and Python's own parsing, are the twins that tests compare. There
are no bounds checks: offsets are those of an Arrow array, and pieces and slots were made by that module.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")

LITERAL: Final = 0
NUMBER: Final = 1
DIGITS: Final = 2
HEX: Final = 3
_TEN: Final = 10
_SIXTEEN: Final = 16
_ZERO: Final = 0x30
_LETTER: Final = 0x61 - _TEN
_LETTERS_END: Final = 0x66
_WORD_BITS: Final = 64
_U: Final = np.uint64

_BYTES: Final = numba.types.Array(numba.uint8, 1, "C", readonly=True)
_OFFSETS: Final = numba.types.Array(numba.int32, 1, "C", readonly=True)
_PLAN: Final = numba.types.Array(numba.int64, 2, "C", readonly=True)
_LINE: Final = numba.types.Array(numba.int64, 1, "C", readonly=True)


def _digit_of(letter: Any, kind: Any) -> Any:
    """Return the value of a digit; -1 where it is none of its kind, capitals among them."""
    value = np.int64(letter) - _ZERO
    if 0 <= value < _TEN:
        return value
    if kind == HEX and _TEN + _LETTER <= np.int64(letter) <= _LETTERS_END:
        return np.int64(letter) - _LETTER
    return np.int64(-1)


_digit: Any = numba.njit(nogil=True, inline="always")(_digit_of)


def _parse_of(data: Any, offsets: Any, plan: Any, literals: Any, values: Any) -> Any:
    """Write the numbers of every text, row by row; return how many rows have the template, up to the first that has
    not. A row of `plan` is kind, width and the place of a literal in `literals`."""
    for row in range(len(offsets) - 1):
        at, end, column = np.int64(offsets[row]), np.int64(offsets[row + 1]), 0
        for piece in range(len(plan)):
            kind, width = plan[piece, 0], plan[piece, 1]
            wrong = np.int64(0)
            if kind == LITERAL:
                if end - at < width:
                    return np.int64(row)
                first = plan[piece, 2]
                for place in range(width):  # without a way out: many at once
                    wrong |= np.int64(data[at + place] ^ literals[first + place])
                at += width
            elif kind == NUMBER:
                most, value, digits = min(width, end - at), np.int64(0), np.int64(0)
                while digits < most:
                    digit = np.int64(data[at + digits]) - _ZERO
                    if digit < 0 or digit >= _TEN:
                        break
                    value = value * _TEN + digit
                    digits += 1
                if digits == 0 or (digits > 1 and data[at] == _ZERO):
                    return np.int64(row)
                values[row, column] = value
                column += 1
                at += digits
            else:
                if end - at < width:
                    return np.int64(row)
                value = np.int64(0)
                if kind == HEX:
                    for place in range(width):
                        digit = _digit(data[at + place], HEX)
                        wrong |= digit
                        value = (value << 4) | digit
                else:
                    for place in range(width):
                        digit = _digit(data[at + place], DIGITS)
                        wrong |= digit
                        value = value * _TEN + digit
                wrong = np.int64(wrong < 0)
                values[row, column] = value
                column += 1
                at += width
            if wrong != 0:
                return np.int64(row)
        if at != end:
            return np.int64(row)
    return np.int64(len(offsets) - 1)


parse: Any = numba.njit(
    numba.int64(_BYTES, _OFFSETS, _PLAN, _BYTES, numba.types.Array(numba.int64, 2, "C")), nogil=True
)(_parse_of)


def _spans_of(values: Any, low: Any, high: Any) -> None:
    """Write the lowest and the highest of every number; there is a row."""
    for column in range(values.shape[1]):
        low[column] = high[column] = values[0, column]
    for row in range(len(values)):
        for column in range(values.shape[1]):
            low[column] = min(low[column], values[row, column])
            high[column] = max(high[column], values[row, column])


spans: Any = numba.njit(
    numba.void(_PLAN, numba.types.Array(numba.int64, 1, "C"), numba.types.Array(numba.int64, 1, "C")), nogil=True
)(_spans_of)


def _pack_of(values: Any, bases: Any, bits: Any, words: Any) -> None:
    """Write the numbers of every row less their bases side by side, in so many bits each (at most 56)."""
    for row in range(len(values)):
        held, count, place = _U(0), np.int64(0), 0
        for column in range(len(bits)):
            if bits[column] == 0:
                continue
            code = _U(values[row, column] - bases[column])
            held |= code << _U(count)
            count += bits[column]
            if count >= _WORD_BITS:
                words[row, place] = held
                place += 1
                count -= _WORD_BITS
                held = code >> _U(bits[column] - count)
        if place < words.shape[1]:
            words[row, place] = held


pack: Any = numba.njit(numba.void(_PLAN, _LINE, _LINE, numba.types.Array(numba.uint64, 2, "C")), nogil=True)(_pack_of)


def _place_of(rows: Any, order: Any, out: Any) -> None:
    """Write the first bytes of row order[i] to row i."""
    for row in range(len(order)):
        source = order[row]
        for place in range(out.shape[1]):
            out[row, place] = rows[source, place]


place: Any = numba.njit(
    numba.void(numba.types.Array(numba.uint8, 2, "C", readonly=True), _LINE, numba.types.Array(numba.uint8, 2, "C")),
    nogil=True,
)(_place_of)


def _measure_of(plan: Any, values: Any, offsets: Any) -> Any:
    """Write where every text begins, and return the bytes of all; beyond 31 bits the offsets mean nothing."""
    fixed, size = np.int64(0), np.int64(0)
    for piece in range(len(plan)):
        if plan[piece, 0] != NUMBER:
            fixed += plan[piece, 1]
    offsets[0] = 0
    for row in range(len(values)):
        size += fixed
        column = 0
        for piece in range(len(plan)):
            if plan[piece, 0] == NUMBER:
                rest = values[row, column]
                size += 1
                while rest >= _TEN:
                    rest //= _TEN
                    size += 1
            column += plan[piece, 0] != LITERAL
        offsets[row + 1] = np.int32(size)
    return size


measure: Any = numba.njit(numba.int64(_PLAN, _PLAN, numba.types.Array(numba.int32, 1, "C")), nogil=True)(_measure_of)


def _write_of(plan: Any, literals: Any, values: Any, offsets: Any, data: Any) -> None:
    """Write every text, from its end to its beginning."""
    last = len(plan) - 1
    for row in range(len(values)):
        at, column = np.int64(offsets[row + 1]), values.shape[1]
        for back in range(len(plan)):
            piece = last - back
            kind, width = plan[piece, 0], plan[piece, 1]
            if kind == LITERAL:
                at -= width
                for place in range(width):
                    data[at + place] = literals[plan[piece, 2] + place]
                continue
            column -= 1
            rest = values[row, column]
            if kind == NUMBER:
                at -= 1
                data[at] = np.uint8(_ZERO + rest % _TEN)
                rest //= _TEN
                while rest > 0:
                    at -= 1
                    data[at] = np.uint8(_ZERO + rest % _TEN)
                    rest //= _TEN
                continue
            base = np.int64(_SIXTEEN) if kind == HEX else np.int64(_TEN)
            for _ in range(width):
                digit = rest % base
                rest //= base
                at -= 1
                data[at] = np.uint8(_ZERO + digit if digit < _TEN else _LETTER + digit)


write: Any = numba.njit(numba.void(_PLAN, _BYTES, _PLAN, _OFFSETS, numba.types.Array(numba.uint8, 1, "C")), nogil=True)(
    _write_of
)
