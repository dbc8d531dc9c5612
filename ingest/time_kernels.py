"""Compiled reader of local times `YYYY-MM-DD hh:mm:ss` (ADR 7); its twin in NumPy is in `ingest.times`."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
types: Any = importlib.import_module("numba.core.types")

LENGTH: Final = 19
_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS: Final = types.Array(types.int32, 1, "C", readonly=True)
_WRITTEN: Final = types.Array(types.int64, 1, "C")
_HOUR_LAST: Final = 12


def _clocks_of(data: Any, offsets: Any, form: Any, limit: Any, hours: Any, seconds: Any) -> None:
    """Write the hour of each text as the number YYYYMMDDHH, and the seconds since it began; an hour of -1 is none.

    `form` and `limit` are what stands at each place of a time at least, and how much more may; an hour has 60 minutes
    of 60 seconds, else its seconds are -1.
    """
    for row in range(len(hours)):
        hours[row], seconds[row] = -1, -1
        start: Any = np.int64(offsets[row])
        if offsets[row + 1] - start != LENGTH:
            continue
        strange = np.uint8(0)
        for place in range(LENGTH):
            strange |= np.uint8(np.uint8(data[start + place] - form[place]) > limit[place])
        if strange:
            continue
        hour: Any = np.int64(0)
        for place in range(_HOUR_LAST + 1):
            if limit[place]:
                hour = hour * 10 + np.int64(data[start + place] - form[place])
        minute: Any = np.int64(data[start + 14] - form[14]) * 10 + np.int64(data[start + 15] - form[15])
        second: Any = np.int64(data[start + 17] - form[17]) * 10 + np.int64(data[start + 18] - form[18])
        hours[row] = hour
        if minute < 60 and second < 60:
            seconds[row] = minute * 60 + second


clocks: Any = numba.njit(types.void(_BYTES, _OFFSETS, _BYTES, _BYTES, _WRITTEN, _WRITTEN), nogil=True)(_clocks_of)
