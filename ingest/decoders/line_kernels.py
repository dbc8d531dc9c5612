"""Compiled loops over lines and slices of text (ADR 7): copies into one buffer, and RADIUS attributes by name.

The twins that the tests compare these with are the NumPy roads of `ingest.decoders.slices` and
`ingest.decoders.freeradius`. There are no bounds checks: slices lie inside the data, and a line of attributes has at
least one byte before it and behind it.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
types: Any = importlib.import_module("numba.core.types")

_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_PLACES: Final = types.Array(types.int64, 1, "C", readonly=True)
_SPACE: Final = np.uint8(0x20)
_EQUALS: Final = np.uint8(0x3D)


def _copy_slices_of(data: Any, starts: Any, ends: Any, out: Any) -> None:
    """Copy the slices `starts[i]:ends[i]` one behind the other; one that begins below 0 is empty."""
    place = 0
    for index in range(len(starts)):
        at = starts[index]
        if at < 0:
            continue
        for source in range(at, ends[index]):
            out[place] = data[source]
            place += 1


copy_slices: Any = numba.njit(
    types.void(_BYTES, _PLACES, _PLACES, types.Array(types.uint8, 1, "C")), nogil=True, cache=True
)(_copy_slices_of)


def _attributes_of(
    data: Any,
    starts: Any,
    ends: Any,
    wanted: Any,
    names: Any,
    bounds: Any,
    offsets: Any,
    told: Any,
    equals: Any,
    codes: Any,
) -> None:
    """Find ` = ` in each line (-1: there is none), and which wanted name stands before it (-1: none).

    `names` are the wanted names, shorter ones first, name `n` in `offsets[n]:offsets[n + 1]`; those of `length` bytes
    are `bounds[length]` to `bounds[length + 1]`, and `told[n]` is what code a name has. `wanted` picks lines.
    """
    longest = len(bounds) - 2
    for index in range(len(starts)):
        start, end = starts[index], ends[index]
        found = -1
        for at in range(start, end):
            if data[at] == _EQUALS and data[at - 1] == _SPACE and data[at + 1] == _SPACE:
                found = at
                break
        equals[index] = found
        code = -1
        length = found - 2 - start
        if wanted[index] and found >= 0 and 0 < length <= longest:
            for name in range(bounds[length], bounds[length + 1]):
                base = offsets[name]
                place = length - 1
                while place >= 0 and names[base + place] == data[start + 1 + place]:
                    place -= 1
                if place < 0:
                    code = told[name]
                    break
        codes[index] = code


attributes: Any = numba.njit(
    types.void(
        _BYTES,
        _PLACES,
        _PLACES,
        _BYTES,
        _BYTES,
        _PLACES,
        _PLACES,
        _PLACES,
        types.Array(types.int64, 1, "C"),
        types.Array(types.int64, 1, "C"),
    ),
    nogil=True,
    cache=True,
)(_attributes_of)
