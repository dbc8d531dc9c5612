"""Compiled walk over BER records (ADR 7): where records end, and where the wanted elements of a level lie.

The twins that the tests compare these with are `threegpp._run` and `ber._walk_level`, which take the same steps. There
are no bounds checks: behind the data lie `ber.SLACK_BYTES` of zeros, more than a header has octets.

Source: ITU-T X.690 §8.1 (identifier, length and end-of-contents octets).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import inlined, numba, types

BAD: Final = 1
INDEFINITE: Final = 2

_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_READ: Final = types.Array(types.int64, 1, "C", readonly=True)
_WRITTEN: Final = types.Array(types.int64, 1, "C")
_FLAGS: Final = types.Array(types.uint8, 1, "C")
_HIGH: Final = 0x1F
_OPEN: Final = 0x80
_NUMBER_LAST: Final = 1023


def _frame_of(data: Any, at: Any, limit: Any, size: Any, starts: Any, ends: Any) -> Any:
    """Note records that follow each other, padding between them or not; return how many. They are as many as fit.

    Stops before `limit`, and where a header is none that switches write, or a record is longer than the data.
    """
    count = 0
    room = len(starts)
    while at < limit and count < room:
        first = np.int64(data[at])
        if first in (0x00, 0xFF):
            at += 1
            continue
        if not (0xA0 <= first <= 0xBF or first in (0x30, 0x31)):
            break
        place = at + 1
        if first == 0xBF:
            if data[place] >= _OPEN:
                break
            place += 1
        length = np.int64(data[place])
        if length == 0x81:
            end = place + 2 + np.int64(data[place + 1])
        elif length < _OPEN:
            end = place + 1 + length
        else:
            break
        if end > size:
            break
        starts[count] = at
        ends[count] = end
        count += 1
        at = end
    return count


frame: Any = numba.njit(
    types.int64(_BYTES, types.int64, types.int64, types.int64, _WRITTEN, _WRITTEN), nogil=True, cache=True
)(_frame_of)


def _header_of(data: Any, at: Any) -> Any:
    """Return the tag, where the content begins, its length, and what is wrong with the header that begins at `at`."""
    first: Any = np.int64(data[at])
    number: Any = first & _HIGH
    place = at + 1
    fault = 0
    if number == _HIGH:
        number = 0
        more: Any = True
        for _ in range(3):
            octet = np.int64(data[place])
            number = number << 7 | (octet & 0x7F)
            place += 1
            more = octet >= _OPEN
            if not more:
                break
        number = min(number, _NUMBER_LAST)
        if more:
            fault = BAD
    length: Any = np.int64(data[place])
    place += 1
    if length == _OPEN:
        fault |= INDEFINITE if first & 0x20 else BAD
        length = 0
    elif length > _OPEN:
        octets = length & 0x7F
        if octets > 4:
            fault |= BAD
            octets = 4
        length = 0
        for _ in range(octets):
            length = length << 8 | np.int64(data[place])
            place += 1
    return (first >> 6) << 10 | number, place, length, fault


_header: Any = inlined(_header_of)


def _walk_of(
    data: Any,
    starts: Any,
    ends: Any,
    single: Any,
    by_tag: Any,
    steps_max: Any,
    places: Any,
    lengths: Any,
    faults: Any,
) -> None:
    """Note for each record and slot where the element begins and how long it is, slot after slot.

    `steps_max` elements are looked at; a record that has more is BAD, unless one only is wanted.
    """
    count = len(starts)
    for row in range(count):
        at = starts[row]
        end = ends[row]
        steps = 0
        while at < end:
            if steps == steps_max:
                if steps_max > 1:
                    faults[row] |= BAD
                break
            steps += 1
            first: Any = np.int64(data[at])
            slot = single[first]
            length: Any = np.int64(data[at + 1])
            value = at + 2
            stopped = False
            if slot < 0 or length >= _OPEN:
                tag, value, length, fault = _header(data, at)
                faults[row] |= fault
                stopped = fault != 0
                slot = by_tag[tag]
            at = value + length
            if stopped:
                length = 0
            elif at > end:
                faults[row] |= BAD
                length = 0
            places[slot * count + row] = value
            lengths[slot * count + row] = length
            if stopped:
                break


walk: Any = numba.njit(
    types.void(_BYTES, _READ, _READ, _READ, _READ, types.int64, _WRITTEN, _WRITTEN, _FLAGS), nogil=True, cache=True
)(_walk_of)
