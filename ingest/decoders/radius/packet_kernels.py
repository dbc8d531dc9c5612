"""Compiled walk over the packets of a detail file: where each value that is read stands (ADR 38).

Packets are understood as FreeRADIUS writes them: a header line, lines of a tab, a name and ` = `, an empty line. Lines
end with LF or CR LF. A block with anything else in it is left to the twin, `ingest.decoders.radius.detail`.

There are no bounds checks. The block ends with an empty line, and behind it are `PAD_BYTES` of padding.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.base import RECORD_BYTES_MAX
from ingest.decoders.freeswitch.name_kernels import code_of
from ingest.decoders.word_kernels import ctz, inlined, load8, load32, newlines32, numba, spaces32, types

ABSENT: Final = 0
PLAIN: Final = 1
QUOTED: Final = 2  # some value of the attribute stood in quotes
NAME_BYTES_MAX: Final = 256

_NEWLINE: Final = 0x0A
_RETURN: Final = 0x0D
_TAB: Final = 0x09
_SPACE: Final = 0x20
_QUOTE: Final = 0x22
_EQUALS: Final = 0x203D20  # " = "
_U = np.uint64


def _line_end(at: Any) -> Any:
    """Return the address of the next line feed."""
    while True:
        feeds = newlines32(at)
        if feeds != _U(0):
            return at + np.int64(ctz(feeds))
        at += 32


_line_end_of: Any = inlined(_line_end)


def _empty_line(at: Any) -> Any:
    """Return the bytes of the line end at an address; 0 when there is none."""
    byte = load8(at)
    if byte == _RETURN:
        return np.int64(2) if load8(at + 1) == _NEWLINE else np.int64(0)
    return np.int64(byte == _NEWLINE)


_empty_line_of: Any = inlined(_empty_line)


def _name_bytes(at: Any) -> Any:
    """Return the bytes of a name with ` = ` behind it; 0 when there is none."""
    for place in range(0, NAME_BYTES_MAX, 32):
        spaces, feeds = spaces32(at + place), newlines32(at + place)
        stops = spaces | feeds
        if stops != _U(0):
            length = place + np.int64(ctz(stops))
            return length if (np.int64(load32(at + length)) & 0xFFFFFF) == _EQUALS else np.int64(0)
    return np.int64(0)


_name_bytes_of: Any = inlined(_name_bytes)


def _walk(
    base: Any, begin: Any, end: Any, names: Any, table: Any, starts: Any, ends: Any, bounds: Any, told: Any
) -> Any:
    """Find the values of all packets; return how many packets there are, -1: the block is left to the twin.

    Args:
        base: address of the memory.
        begin, end: the block's places in it.
        names: address of the names that are read, one after the other, with padding.
        table: uint64, 256 rows: first and last eight bytes of a name, length and where it stands, place, code.
        starts, ends: int64, a line per attribute, a column per packet: its value without quotes, -1 where it is absent.
            Of an attribute that is there twice the first counts.
        bounds: int64, first and last place of each packet.
        told: uint8 per attribute: ABSENT on entry, then PLAIN or QUOTED.
    """
    at, last, count = base + begin, base + end, np.int64(0)
    while True:
        while at < last:
            step = _empty_line_of(at)
            if step == 0:
                break
            at += step
        if at >= last:
            return count
        if count == starts.shape[1] or load8(at) <= _SPACE:
            return np.int64(-1)
        first = at
        at = _line_end_of(at)
        stop = at
        for code in range(starts.shape[0]):
            starts[code, count] = -1
        if load8(at + 1) != _TAB:
            return np.int64(-1)
        while load8(at + 1) == _TAB:
            name = at + 2
            length = _name_bytes_of(name)
            if length == 0:
                return np.int64(-1)
            value = name + length + 3
            at = _line_end_of(value)
            stop = at - np.int64(at > value and load8(at - 1) == _RETURN)
            code, _ = code_of(name, length, np.int64(0), table, names)
            if code < 0:
                continue
            kind, behind = PLAIN, stop
            if load8(value) == _QUOTE:
                if stop - value < 2 or load8(stop - 1) != _QUOTE:
                    return np.int64(-1)
                kind, value, behind = QUOTED, value + 1, stop - 1
            if starts[code, count] < 0:
                starts[code, count], ends[code, count] = value - base, behind - base
                told[code] |= kind
        if _empty_line_of(at + 1) == 0 or at - first > RECORD_BYTES_MAX:
            return np.int64(-1)
        bounds[0, count], bounds[1, count] = first - base, stop - base
        count += 1


walk: Any = numba.njit(
    types.int64(
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.Array(types.uint64, 2, "C", readonly=True),
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.uint8[::1],
    ),
    nogil=True,
    error_model="numpy",
    _nrt=False,
)(_walk)
