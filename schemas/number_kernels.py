"""Compiled looks at packed numbers (ADR 7). The twin in NumPy is in `schemas.numbers`."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
types: Any = numba.types

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
