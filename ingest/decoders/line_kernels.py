"""Compiled loops over lines and slices of text (ADR 7): copies, RADIUS attributes by name, and what CSV is plain.

The twins that the tests compare these with are the NumPy roads of `ingest.decoders.slices` and
`ingest.decoders.freeradius`, and the row-by-row roads of CSV. There are no bounds checks: slices lie inside the data,
and a line of attributes has at least one byte before it and behind it.
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
_QUOTE: Final = np.uint8(0x22)
_COMMA: Final = np.uint8(0x2C)
_NEWLINE: Final = np.uint8(0x0A)
_RETURN: Final = np.uint8(0x0D)
_NUL: Final = np.uint8(0)


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


def _plain_lines_of(data: Any, width: Any) -> Any:
    """Count the lines of a block of CSV; -1 when it is not plain.

    Plain are lines of `width` values each, the last one ended as the others, with quotes around whole values or doubled
    inside such, and without line ends in values, NUL and carriage returns.
    """
    lines = 0
    values = 1
    quoted = False
    begins = True
    size = len(data)
    at = 0
    while at < size:
        octet = data[at]
        at += 1
        if quoted:
            if octet == _QUOTE:
                if at < size and data[at] == _QUOTE:
                    at += 1
                elif at < size and data[at] in (_COMMA, _NEWLINE):
                    quoted = False
                else:
                    return -1
            elif octet in (_NEWLINE, _RETURN, _NUL):
                return -1
        elif octet == _COMMA:
            values += 1
            begins = True
        elif octet == _NEWLINE:
            if values != width or (width == 1 and begins):
                return -1
            lines += 1
            values = 1
            begins = True
        elif octet == _QUOTE:
            if not begins:
                return -1
            quoted = True
            begins = False
        elif octet in (_RETURN, _NUL):
            return -1
        else:
            begins = False
    if quoted or values != 1 or not begins:
        return -1
    return lines


plain_lines: Any = numba.njit(types.int64(_BYTES, types.int64), nogil=True, cache=True)(_plain_lines_of)
