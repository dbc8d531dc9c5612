"""Compiled loops over the values of one column of a block, each a slice of it (ADR 7).

`base` is the address of the block; before and behind it are `PAD_BYTES` more. Slice i is `starts[i]:ends[i]`. The twins
are the readers of texts: `pack_identifier`, `slices.figures`, `ZoneTimes.convert_column`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import (
    LABELS_MAX,
    POWERS,
    SLOTS,
    inlined,
    label,
    load8,
    load64,
    numba,
    number,
    store64,
    types,
)

PLAIN: Final = 0
EMPTY: Final = 1
OTHER: Final = 2
"""What a value is: of the form, an empty text, or anything else."""

HOURS_MAX: Final = 64
UUID_BYTES: Final = 36
_DASHES: Final = 4
WORDS: Final = LABELS_MAX
PLACES: Final = SLOTS

_DIGITS_MAX: Final = 18
_STAMP_BYTES: Final = 19
_DASH: Final = 0x2D
_SPACE: Final = 0x20
_COLON: Final = 0x3A
_U = np.uint64
_SMALL: Final = _U(0x2020_2020_2020_2020)  # makes letters small, and leaves digits and dashes

_GIVEN: Final = types.Array(types.int64, 1, "C", readonly=True)
_INTS: Final = types.Array(types.int64, 1, "C")
_KINDS: Final = types.Array(types.uint8, 1, "C")


def _identifiers_of(base: Any, starts: Any, ends: Any, packed: Any, kinds: Any) -> Any:
    """Pack values of 1 to 18 digits behind a leading 1; return how many values are other texts."""
    others = np.int64(0)
    for row in range(len(starts)):
        length = ends[row] - starts[row]
        kinds[row], packed[row] = EMPTY, 0
        if length > 0:
            value = number(base + starts[row], length) if length <= _DIGITS_MAX else np.int64(-1)
            kinds[row] = PLAIN if value >= 0 else OTHER
            packed[row] = POWERS[length] + value if value >= 0 else np.int64(0)
            others += np.int64(value < 0)
    return others


identifiers: Any = numba.njit(types.int64(types.int64, _GIVEN, _GIVEN, _INTS, _KINDS), nogil=True, error_model="numpy")(
    _identifiers_of
)


def _figures_of(base: Any, starts: Any, ends: Any, most: Any, values: Any, kinds: Any) -> None:
    """Read whole numbers of 1 to so many digits, at most 18."""
    for row in range(len(starts)):
        length = ends[row] - starts[row]
        kinds[row], values[row] = EMPTY, 0
        if length > 0:
            value = number(base + starts[row], length) if length <= most else np.int64(-1)
            kinds[row] = PLAIN if value >= 0 else OTHER
            values[row] = max(value, 0)


figures: Any = numba.njit(
    types.void(types.int64, _GIVEN, _GIVEN, types.int64, _INTS, _KINDS), nogil=True, error_model="numpy"
)(_figures_of)


def _labels_of(base: Any, starts: Any, ends: Any, codes: Any, slots: Any, keys: Any, places: Any) -> Any:
    """Encode values; of an empty one the code is -1. Return how many different ones there are, -1 for too many.

    `slots`, `keys` and `places` are as `word_kernels.label` takes them, of one table.
    """
    for row in range(len(starts)):
        length = ends[row] - starts[row]
        code = np.int64(-1)
        if length > 0:
            code = label(base, base + starts[row], length, 0, slots, keys, places)
            if code < 0:
                return np.int64(-1)
        codes[row] = code
    return places[0, LABELS_MAX, 0]


labels: Any = numba.njit(
    types.int64(
        types.int64,
        _GIVEN,
        _GIVEN,
        types.Array(types.int32, 1, "C"),
        types.Array(types.int16, 2, "C"),
        types.Array(types.uint64, 3, "C"),
        types.Array(types.int64, 3, "C"),
    ),
    nogil=True,
    error_model="numpy",
)(_labels_of)


def _pair(at: Any) -> Any:
    """Return the number of two digits; one beyond 99 where they are none."""
    high, low = np.int64(load8(at)) - 48, np.int64(load8(at + 1)) - 48
    return high * 10 + low if high >= 0 and high <= 9 and low >= 0 and low <= 9 else np.int64(1000)


_pair_of: Any = inlined(_pair)


def _hour(at: Any) -> Any:
    """Return the number YYYYMMDDHH of `YYYY-MM-DD HH:`; -1 where there is none."""
    marks = load8(at + 4) == _DASH and load8(at + 7) == _DASH
    marks = marks and load8(at + 10) == _SPACE and load8(at + 13) == _COLON
    century, year, month, day, hour = (
        _pair_of(at), _pair_of(at + 2), _pair_of(at + 5), _pair_of(at + 8), _pair_of(at + 11)
    )  # fmt: skip
    if not marks or max(century, year, month, day, hour) > 99:
        return np.int64(-1)
    return (((century * 100 + year) * 100 + month) * 100 + day) * 100 + hour


_hour_of: Any = inlined(_hour)


def _stamps_of(base: Any, starts: Any, ends: Any, hours: Any, places: Any, seconds: Any, kinds: Any) -> Any:
    """Read times `YYYY-MM-DD hh:mm:ss`: which of `hours` it is, and the seconds since that began.

    Return how many hours there are, each the number YYYYMMDDHH; -1 for too many. A minute or second beyond 59 is
    another text.
    """
    count, last = np.int64(0), np.int64(-1)
    first, second = _U(0), _U(0)
    for row in range(len(starts)):
        at = base + starts[row]
        places[row], seconds[row], kinds[row] = 0, 0, EMPTY
        if ends[row] <= starts[row]:
            continue
        kinds[row] = OTHER
        if ends[row] - starts[row] != _STAMP_BYTES:
            continue
        if last < 0 or load64(at) != first or load64(at + 6) != second:
            hour = _hour_of(at)
            if hour < 0:
                continue
            last = np.int64(0)
            while last < count and hours[last] != hour:
                last += 1
            if last == count:
                if count == HOURS_MAX:
                    return np.int64(-1)
                hours[count] = hour
                count += 1
            first, second = load64(at), load64(at + 6)
        minute, moment = _pair_of(at + 14), _pair_of(at + 17)
        if minute > 59 or moment > 59 or load8(at + 16) != _COLON:
            continue
        places[row], seconds[row], kinds[row] = last, minute * 60 + moment, PLAIN
    return count


stamps: Any = numba.njit(
    types.int64(types.int64, _GIVEN, _GIVEN, _INTS, _INTS, _INTS, _KINDS), nogil=True, error_model="numpy"
)(_stamps_of)


def _uuids_of(base: Any, starts: Any, ends: Any, out: Any, good: Any) -> None:
    """Write UUIDs in small letters to the address `out`, one behind the other; what is none is not good."""
    for row in range(len(starts)):
        at, into = base + starts[row], out + row * UUID_BYTES
        fine = ends[row] - starts[row] == UUID_BYTES
        if fine:
            strange = np.uint8(0)
            for place in range(UUID_BYTES):
                octet = load8(at + place)
                figure = np.uint8(octet - np.uint8(0x30)) < 10
                letter = np.uint8((octet | np.uint8(0x20)) - np.uint8(0x61)) < 6
                strange += np.uint8(not (figure or letter))
            dashes = load8(at + 8) == _DASH and load8(at + 13) == _DASH
            dashes = dashes and load8(at + 18) == _DASH and load8(at + 23) == _DASH
            fine = dashes and strange == _DASHES
        good[row] = fine
        for word in range(5):
            place = min(word * 8, UUID_BYTES - 8)
            store64(into + place, load64(at + place) | _SMALL if fine else _U(0))


uuids: Any = numba.njit(
    types.void(types.int64, _GIVEN, _GIVEN, types.int64, types.Array(types.boolean, 1, "C")),
    nogil=True,
    error_model="numpy",
)(_uuids_of)
