"""Compiled walk over BER records (ADR 7): where records end, where the wanted elements of a level lie, their digits.

The twins that the tests compare these with take the same steps: `threegpp._run`, `tap3.end_of`, `threegpp_file`,
`ber._walk_level`, `ber_elements.definite`, `values.digit_chars`, `values.strings`. There are no bounds checks: behind
the data of a walk lie `ber.SLACK_BYTES` of zeros, more than a header has octets.

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
_PAIRS: Final = types.Array(types.uint16, 1, "C", readonly=True)
_OFFSETS: Final = types.Array(types.int32, 1, "C")
_HIGH: Final = 0x1F
_OPEN: Final = 0x80
_NUMBER_LAST: Final = 1023
_HEADER_MAX: Final = 9  # octets of a header
_EVENT: Final = 0x60
_FILE_HEADER: Final = 4
_RELEASE_7: Final = 0xE0


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
        elif length == 0x82:
            end = place + 3 + (np.int64(data[place + 1]) << 8 | np.int64(data[place + 2]))
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


frame: Any = numba.njit(types.int64(_BYTES, types.int64, types.int64, types.int64, _WRITTEN, _WRITTEN), nogil=True)(
    _frame_of
)


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
    types.void(_BYTES, _READ, _READ, _READ, _READ, types.int64, _WRITTEN, _WRITTEN, _FLAGS), nogil=True
)(_walk_of)


def _frame_events_of(data: Any, at: Any, limit: Any, starts: Any, ends: Any) -> Any:
    """Note constructed elements of class APPLICATION and definite length that follow each other; return how many.

    Stops where anything else begins, where an element ends behind `limit`, near the limit, and when `starts` is full.
    """
    count = 0
    while at + _HEADER_MAX <= limit and count < len(starts) and data[at] & 0xE0 == _EVENT:
        _, place, length, fault = _header(data, at)
        if fault or place + length > limit:
            break
        starts[count], ends[count] = at, place + length
        count += 1
        at = place + length
    return count


frame_events: Any = numba.njit(types.int64(_BYTES, types.int64, types.int64, _WRITTEN, _WRITTEN), nogil=True)(
    _frame_events_of
)


def _frame_file_of(data: Any, starts: Any, ends: Any) -> Any:
    """Note whole records behind headers of TS 32.297; return how many. They are as many as fit."""
    count = 0
    at: Any = np.int64(0)
    limit = len(data) - _FILE_HEADER
    while at <= limit and count < len(starts):
        start = at + _FILE_HEADER + np.int64(data[at + 2] >= _RELEASE_7)
        end = start + (np.int64(data[at]) << 8 | np.int64(data[at + 1]))
        if end > limit + _FILE_HEADER:
            break
        starts[count], ends[count] = start, end
        count += 1
        at = end
    return count


frame_file: Any = numba.njit(types.int64(_BYTES, _WRITTEN, _WRITTEN), nogil=True)(_frame_file_of)


def _is_definite(data: Any, start: Any, end: Any, stops: Any) -> Any:
    """Tell whether an element and all within it have definite lengths, and fill each other; `stops` is for its own use.

    Elements at the depth that `stops` has room for are taken for none.
    """
    depth: Any = np.int64(0)
    at = start
    stops[0] = end
    while True:
        while at == stops[depth]:
            if depth == 0:
                return True
            depth -= 1
        constructed = data[at] & 0x20 != 0
        _, place, length, fault = _header(data, at)
        at = place + length
        if fault or at > stops[depth] or (depth == 0 and at != end):
            return False
        if constructed:
            depth += 1
            if depth == len(stops):
                return False
            stops[depth], at = at, place


_is_definite_of: Any = inlined(_is_definite)


def _find_definite_of(data: Any, starts: Any, ends: Any, stops: Any, good: Any) -> None:
    """Tell of elements whether they hold no octet 0x80, or else have definite lengths throughout."""
    for row in range(len(starts)):
        good[row] = 1
        for at in range(starts[row], ends[row]):
            if data[at] == _OPEN:
                good[row] = _is_definite_of(data, starts[row], ends[row], stops)
                break


find_definite: Any = numba.njit(types.void(_BYTES, _READ, _READ, _WRITTEN, _FLAGS), nogil=True)(_find_definite_of)


def _read_digits_of(data: Any, starts: Any, lengths: Any, pairs: Any, room: Any, chars: Any, bad: Any) -> None:
    """Write two characters of each octet to rows of `room` zeros; a row with a character behind a filler stays so."""
    for row in range(len(starts)):
        begin = row * room
        at = begin
        filled = True
        for place in range(starts[row], starts[row] + lengths[row]):
            pair = np.int64(pairs[data[place]])
            for char in (pair & 0xFF, pair >> 8):
                if char == 0:
                    filled = False
                elif filled:
                    chars[at] = char
                    at += 1
                else:
                    bad[row] = 1
        if bad[row]:
            for place in range(begin, at):
                chars[place] = 0


read_digits: Any = numba.njit(types.void(_BYTES, _READ, _READ, _PAIRS, types.int64, _FLAGS, _FLAGS), nogil=True)(
    _read_digits_of
)


def _trim_of(chars: Any, room: Any, absent: Any, offsets: Any, text: Any) -> None:
    """Write rows of `room` characters one after the other, without the zeros at their ends, but for absent ones."""
    into = 0
    offsets[0] = 0
    for row in range(len(absent)):
        if absent[row] == 0:
            begin = row * room
            end = begin + room
            while end > begin and chars[end - 1] == 0:
                end -= 1
            for place in range(begin, end):
                text[into] = chars[place]
                into += 1
        offsets[row + 1] = into


trim: Any = numba.njit(types.void(_BYTES, types.int64, _BYTES, _OFFSETS, _FLAGS), nogil=True)(_trim_of)
