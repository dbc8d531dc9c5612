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
HEX: Final = 3
_TEN: Final = 10
_SIXTEEN: Final = 16
_ZERO: Final = 0x30
_LETTER: Final = 0x61 - _TEN
_LETTERS_END: Final = 0x66
_BYTE_BITS: Final = 8
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
            if kind == LITERAL:
                if end - at < width:
                    return np.int64(row)
                for place in range(width):
                    if data[at + place] != literals[plan[piece, 2] + place]:
                        return np.int64(row)
                at += width
                continue
            most = min(width, end - at)
            base = np.int64(_SIXTEEN) if kind == HEX else np.int64(_TEN)
            value, digits = np.int64(0), np.int64(0)
            while digits < most:
                digit = _digit(data[at + digits], kind)
                if digit < 0:
                    break
                value = value * base + digit
                digits += 1
            if kind == NUMBER:
                if digits == 0 or (digits > 1 and data[at] == _ZERO):
                    return np.int64(row)
            elif digits < width:
                return np.int64(row)
            values[row, column] = value
            column += 1
            at += digits
        if at != end:
            return np.int64(row)
    return np.int64(len(offsets) - 1)


parse: Any = numba.njit(
    numba.int64(_BYTES, _OFFSETS, _PLAN, _BYTES, numba.types.Array(numba.int64, 2, "C")), nogil=True
)(_parse_of)


def _pack_of(values: Any, order: Any, bases: Any, bits: Any, out: Any) -> None:
    """Write row order[i] of values less their bases side by side, in so many bits each (at most 56), to row i."""
    width = out.shape[1]
    for row in range(len(order)):
        held, count, place = _U(0), np.int64(0), 0
        for column in range(len(bits)):
            if bits[column] == 0:
                continue
            held |= _U(values[order[row], column] - bases[column]) << _U(count)
            count += bits[column]
            while count >= _BYTE_BITS:
                out[row, place] = np.uint8(held & _U(0xFF))
                held >>= _U(_BYTE_BITS)
                count -= _BYTE_BITS
                place += 1
        while place < width:
            out[row, place] = np.uint8(held & _U(0xFF))
            held = _U(0)
            place += 1


pack: Any = numba.njit(numba.void(_PLAN, _LINE, _LINE, _LINE, numba.types.Array(numba.uint8, 2, "C")), nogil=True)(
    _pack_of
)


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
