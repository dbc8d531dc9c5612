"""Compiled looks at numbers (ADR 7). The twins in NumPy are in `schemas.numbers`, `schemas.misplaced_prefixes` and
`schemas.packing`."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
types: Any = numba.types

_DIGITS_MAX: Final = 18
_LEADING_DIGITS: Final = 4
_ZERO: Final = ord("0")
_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)


def _zero_led(values: Any, digits_max: Any) -> Any:
    """Tell whether some packed number of more than `digits_max` digits begins with 0."""
    low, mid, count = np.int64(1), np.int64(1), 0  # packed numbers of `count` digits begin at low, without 0 at mid
    for value in values:
        if value < low or value - low >= low:
            count = 0
            while count < 18 and value >= 2 * _POWERS[count]:
                count += 1
            low = _POWERS[count]
            mid = low + (_POWERS[count - 1] if count > digits_max else 0)
        if value < mid:
            return True
    return False


zero_led: Any = numba.njit(types.boolean(types.Array(types.int64, 1, "C", readonly=True), types.int64), nogil=True)(
    _zero_led
)


def _may_have_prefix(values: Any, fewest_digits: Any) -> Any:
    """Tell whether some packed number has the digits that its first four ask for (`schemas.misplaced_prefixes`)."""
    low, scale, count = np.int64(1), 1.0, 0
    for value in values:
        if value < low or value - low >= low:
            count = 0
            while count < _DIGITS_MAX and value >= 2 * _POWERS[count]:
                count += 1
            low = _POWERS[count]
            scale = np.float64(_POWERS[max(count - _LEADING_DIGITS, 0)])
        # Up to 15 digits exact; of more the first four may be one off, which no number of a country has.
        leading = np.int64(np.float64(value - low) / scale)
        if 0 <= leading < len(fewest_digits) and count >= fewest_digits[leading]:
            return True
    return False


may_have_prefix: Any = numba.njit(
    types.boolean(types.Array(types.int64, 1, "C", readonly=True), types.Array(types.uint8, 1, "C", readonly=True)),
    nogil=True,
)(_may_have_prefix)


def _pack_digits(offsets: Any, data: Any, packed: Any, fits: Any) -> Any:
    """Pack the texts of 1 to 18 digits, mark them in `fits`, and return how many there are; the others pack to 0."""
    count = 0
    for row in range(len(packed)):
        start, stop = offsets[row], offsets[row + 1]
        value = np.int64(1)
        good = 0 < stop - start <= _DIGITS_MAX
        if good:
            for at in range(start, stop):
                digit = np.int64(data[at]) - _ZERO
                if digit < 0 or digit > 9:
                    good = False
                    break
                value = value * 10 + digit
        packed[row] = value if good else 0
        fits[row] = good
        count += good
    return count


pack_digits: Any = numba.njit(
    types.int64(
        types.Array(types.int32, 1, "C", readonly=True),
        types.Array(types.uint8, 1, "C", readonly=True),
        types.int64[::1],
        types.uint8[::1],
    ),
    nogil=True,
)(_pack_digits)
