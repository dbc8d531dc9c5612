"""Compiled readers of BER values (ADR 7): integers, identifiers, times, and which contents are alike.

Their twins in NumPy are in `ingest.decoders.ber.values`; that of `read_identifiers` packs what `digit_chars` reads.
There are no bounds checks: an element's content lies within the data, as the walk found it, and `walk.SLACK_BYTES` of
zeros lie behind that.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import inlined, numba, types

GROUPS_MAX: Final = 1024
"""More different contents are not told apart here."""

SLOTS: Final = 4096
"""Places of the table in which contents are looked up, all 0 at first; a power of two."""

_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_READ: Final = types.Array(types.int64, 1, "C", readonly=True)
_WRITTEN: Final = types.Array(types.int64, 1, "C")
_FLAGS: Final = types.Array(types.uint8, 1, "C")
_U: Final = np.uint64
_MIX: Final = _U(0x9E37_79B9_7F4A_7C15)
_SIGN: Final = _U(1 << 63)
_EIGHT: Final = _U(8)
_SHIFT: Final = _U(52)
_WIDE: Final = 8
_TIME_OCTETS: Final = 9
_PLUS: Final = 0x2B
_MINUS: Final = 0x2D
_FILLER: Final = 15
_DIGITS_MAX: Final = 18
_IDENTIFIER_OCTETS_MAX: Final = 32

TYPED: Final = 1
"""In front of an identifier stands a type of number."""
DESTINATION: Final = 2
"""In front stands a length, or octet 3 and 3a; with two octets the second has the type."""
ODD: Final = 1
"""Of what `read_identifiers` returns: some are no plain digits, or more than pack."""
NATIONAL: Final = 2
"""Some are national numbers."""
FLAG_BITS: Final = 2
_NATIONAL_TYPE: Final = 2
_WORD_TYPE: Final = 5


def _read_integers_of(data: Any, starts: Any, lengths: Any, values: Any, bad: Any) -> None:
    """Write unsigned integers of 1 to 8 octets and less than 2^63 to zeros; others that are there are bad."""
    for row in range(len(starts)):
        start = starts[row]
        if start < 0:
            continue
        if lengths[row] < 1 or lengths[row] > _WIDE:
            bad[row] = 1
            continue
        value = _U(0)
        for place in range(start, start + lengths[row]):
            value = value << _EIGHT | _U(data[place])
        if value >= _SIGN:
            bad[row] = 1
        else:
            values[row] = np.int64(value)


read_integers: Any = numba.njit(types.void(_BYTES, _READ, _READ, _WRITTEN, _FLAGS), nogil=True)(_read_integers_of)


def _read_identifiers_of(data: Any, starts: Any, lengths: Any, lead: Any, first: Any, values: Any, bad: Any) -> Any:
    """Write digits behind a leading 1, 0 where there are none; those with a digit behind a filler are bad.

    `lead` tells what stands in front, `first` by how many bits the first digit of an octet is shifted. Returns how many
    there are, and in the lowest bits ODD and NATIONAL; what is odd is to be read by the twin.
    """
    count, found = np.int64(0), np.int64(0)
    for row in range(len(starts)):
        values[row] = 0
        at, end = starts[row], starts[row] + lengths[row]
        if at < 0 or (lead and at == end):
            continue
        if lead:
            head, second = np.int64(data[at]), np.int64(data[at + 1])
            at += 1
            if head < 0x80 and second >= 0x80 and lengths[row] >= 2:
                at += 1
                head = second if lead == DESTINATION else head
            kind = head >> 4 & 7
            if kind == _NATIONAL_TYPE:
                found |= NATIONAL
            if kind == _WORD_TYPE:
                found |= ODD
                continue
        if end < at or end - at > _IDENTIFIER_OCTETS_MAX:
            bad[row] = 1
            continue
        value, digits, ended = np.int64(1), 0, False
        for place in range(at, end):
            octet = np.int64(data[place])
            left, right = octet >> first & 15, octet >> (4 - first) & 15
            if left <= 9 and right <= 9 and not ended:
                value = value * 100 + left * 10 + right
                digits += 2
                continue
            for digit in (left, right):
                if digit == _FILLER:
                    ended = True
                elif ended:
                    bad[row] = 1
                elif digit > 9:
                    found |= ODD
                else:
                    value = value * 10 + digit
                    digits += 1
        if digits > _DIGITS_MAX:
            found |= ODD
        elif digits > 0 and bad[row] == 0:
            values[row] = value
            count += 1
    return count << FLAG_BITS | found


read_identifiers: Any = numba.njit(
    types.int64(_BYTES, _READ, _READ, types.int64, types.int64, _WRITTEN, _FLAGS), nogil=True
)(_read_identifiers_of)


def _pair_of(octet: Any) -> Any:
    """Return the number that an octet's two digits are; -1 where one is none."""
    high, low = np.int64(octet) >> 4, np.int64(octet) & 15
    return -1 if high > 9 or low > 9 else high * 10 + low


_pair: Any = inlined(_pair_of)


def _read_times_of(
    data: Any, starts: Any, lengths: Any, before: Any, days: Any, offset_max: Any, values: Any, offsets: Any, bad: Any
) -> None:
    """Write TimeStamps as µs since 1970 UTC and their offsets in s to zeros; others that are there are bad.

    `before` and `days` are the days before each month from January 2000 on, and those in it.
    """
    for row in range(len(starts)):
        at = starts[row]
        if at < 0:
            continue
        bad[row] = 1
        sign = data[at + 6]
        if lengths[row] != _TIME_OCTETS or (sign != _PLUS and sign != _MINUS):  # noqa: PLR1714 (compiled)
            continue
        year, month, day = _pair(data[at]), _pair(data[at + 1]), _pair(data[at + 2])
        hour, minute, second = _pair(data[at + 3]), _pair(data[at + 4]), _pair(data[at + 5])
        hours, minutes = _pair(data[at + 7]), _pair(data[at + 8])
        offset = hours * 3600 + minutes * 60
        if min(year, hour, minute, second, hours, minutes) < 0 or minutes > 59 or offset > offset_max:
            continue
        if month < 1 or month > 12 or hour > 23 or minute > 59 or second > 59:
            continue
        index = year * 12 + month - 1
        if day < 1 or day > days[index]:
            continue
        if sign == _MINUS:
            offset = -offset
        seconds = (before[index] + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - offset
        values[row], offsets[row], bad[row] = seconds * 1_000_000, offset, 0


read_times: Any = numba.njit(
    types.void(_BYTES, _READ, _READ, _READ, _READ, types.int64, _WRITTEN, _WRITTEN, _FLAGS), nogil=True
)(_read_times_of)


def _group_of(data: Any, starts: Any, lengths: Any, table: Any, firsts: Any, groups: Any) -> Any:
    """Write the group of each content, by first appearance, and the row in which each group appears first.

    Rows that begin below 0 have group -1. Returns how many groups there are; -1 when `firsts` has no room for them.
    """
    count: Any = np.int64(0)
    last: Any = np.int64(-1)
    for row in range(len(starts)):
        start, length = starts[row], lengths[row]
        groups[row] = -1
        if start < 0:
            continue
        if last >= 0 and lengths[last] == length:  # mostly it is that of the record before
            step: Any = np.int64(0)
            before = starts[last]
            while step < length and data[before + step] == data[start + step]:
                step += 1
            if step == length:
                groups[row] = groups[last]
                continue
        last = row
        mixed = _U(length)
        for place in range(start, start + length):
            mixed = (mixed ^ _U(data[place])) * _MIX
        slot: Any = np.int64(mixed >> _SHIFT)
        while groups[row] < 0:
            group: Any = table[slot] - 1
            if group < 0:
                if count == len(firsts):
                    return np.int64(-1)
                firsts[count], groups[row] = row, count
                count += 1
                table[slot] = count
            else:
                other = starts[firsts[group]]
                alike = lengths[firsts[group]] == length
                for step in range(length):
                    if not alike:
                        break
                    alike = data[other + step] == data[start + step]
                if alike:
                    groups[row] = group
                slot = (slot + 1) & (SLOTS - 1)
    return count


group: Any = numba.njit(types.int64(_BYTES, _READ, _READ, _WRITTEN, _WRITTEN, _WRITTEN), nogil=True)(_group_of)
