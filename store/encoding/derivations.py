"""Derived columns: what other columns of the same record tell already is kept as the difference, mostly nothing.

Each rule turns a column of integers into another of the same rows that takes less room, and back. All arithmetic wraps
around at 64 bits in both directions, so a rule loses nothing, whatever the values are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.buffers import STRETCH_ROWS
from store.encoding.figures import Figures
from store.encoding.packed_ints import packed_ints, unpacked_ints

Ints = npt.NDArray[np.int64]

SUMS: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "end_time": (("start_time", 1), ("duration_ms", 1000)),
    "answer_time": (("start_time", 1),),
    "billable_duration_ms": (("duration_ms", 1),),
}
"""Columns that are near a sum of others, each with its factor."""
EQUIPMENT: Final = ("imei", "called_imei")
SCALED: Final = ("duration_ms", "billable_duration_ms")
SCALE: Final = 1000
"""Switches that write whole seconds give milliseconds in thousands."""

_SAMPLE: Final = 4_096
_LEAD: Final = 10**15
"""In front of the fifteen digits of an IMEI: packed identifiers keep their leading zeros behind a 1."""
_TYPE_DIGITS: Final = 8
_SERIAL_DIGITS: Final = 6
_SERIALS: Final = 10**_SERIAL_DIGITS
_TABLE_MAX: Final = 2**21
_SORTED_MAX: Final = 65_536
_TYPES_PER_ROW_MAX: Final = 1 / 4
_ALONE_MIN: Final = 3 / 4
"""With more handsets to a row than that, each row is restored by itself."""


def less(column: Figures, expected: Ints) -> Figures:
    """Return a column less what is expected of it."""
    values = column.values - expected
    return Figures(values if column.valid is None else np.where(column.valid, values, 0), column.valid)


def plus(column: Figures, expected: Ints) -> Figures:
    """Undo `less`."""
    values = column.values + expected
    return Figures(values if column.valid is None else np.where(column.valid, values, 0), column.valid)


def is_nearer(column: Figures, rest: Figures) -> bool:
    """Tell by a sample whether the rest of a column takes less room than the column."""
    step = max(len(column) // _SAMPLE, 1)
    before, after = (Figures(item.values[::step], _every(item.valid, step)) for item in (column, rest))
    if _bits(after) < _bits(before):
        return True
    return bool(np.count_nonzero(after.values) * 2 < len(after))


def _every(valid: Any, step: int) -> Any:
    return None if valid is None else valid[::step]


def _bits(column: Figures) -> int:
    low, high = column.span
    return (high - low).bit_length()


def expected_sum(columns: dict[str, Figures], terms: tuple[tuple[str, int], ...], rows: int) -> Ints:
    """Return the sum of columns times their factors; one that is absent, and a null, count nothing."""
    total = np.zeros(rows, np.int64)
    for name, factor in terms:
        if name in columns:
            total += columns[name].values * np.int64(factor)
    return total


def scale(column: Figures) -> Figures | None:
    """Return the column in thousands; None where that loses something."""
    values = column.values
    if (values[:_SAMPLE] % SCALE).any() or (values % SCALE).any():
        return None
    return Figures(values // SCALE, column.valid)


def unscale(column: Figures) -> Figures:
    """Undo `scale`."""
    return Figures(column.values * np.int64(SCALE), column.valid)


def equipment(column: Figures) -> tuple[Figures, dict[str, Any]] | None:
    """Return IMEIs as number of the type code and serial number, and the rule; None where they have another form.

    Fifteen digits are eight of the type (TAC), six of the serial number and one that checks (3GPP TS 23.003, 6.2.1).
    Of the last only what it is ahead of the Luhn digit is kept: 0 where it is sent, another constant where it is not.
    """
    values = column.values if column.valid is None else column.values[column.valid]
    if not len(values) or values.min() < _LEAD or values.max() >= 2 * _LEAD:
        return None
    first = _changes(values)
    few = values[first] - _LEAD
    types, serials, total = (np.empty(len(few), np.int64) for _ in range(3))
    for at in range(0, len(few), STRETCH_ROWS):
        stretch = slice(at, at + STRETCH_ROWS)
        body = few[stretch] // 10
        types[stretch] = body // _SERIALS
        serials[stretch] = body - types[stretch] * _SERIALS
        total[stretch] = few[stretch] - body * 10 + _luhn_sum(serials[stretch], _SERIAL_DIGITS)
    known, codes = _coded(types)
    if len(known) > len(values) * _TYPES_PER_ROW_MAX:
        return None
    total += _luhn_sum(known, _TYPE_DIGITS).take(codes)
    ahead = _REST.take(total)
    constant = int(ahead[0]) if (ahead == ahead[0]).all() else None
    if constant is None:
        codes = codes + ahead * len(known)
    codes = np.repeat(codes * _SERIALS + serials, np.diff(first, append=len(values)))
    if column.valid is not None:
        spread = np.zeros(len(column), np.int64)
        spread[column.valid] = codes
        codes = spread
    return Figures(codes, column.valid), {"types": packed_ints(known), "ahead": constant}


def _coded(types: Ints) -> tuple[Ints, Ints]:
    """Return the distinct types, sorted, and where each stands among them: of many by a table where it is small."""
    bits = len(types).bit_length()
    if len(types) <= _SORTED_MAX:  # one sort of (type, row) in a word: the table is larger
        words = types << bits | np.arange(len(types))
        words.sort()
        ordered, codes = words >> bits, np.empty(len(types), np.int64)
        first = _changes(ordered)
        codes[words & ((1 << bits) - 1)] = np.repeat(np.arange(len(first)), np.diff(first, append=len(types)))
        return ordered[first], codes
    known = np.sort(types)
    known = known[_changes(known)]
    low, high = int(known[0]), int(known[-1])
    if high - low >= _TABLE_MAX:
        return known, np.searchsorted(known, types).astype(np.int64)
    table = np.zeros(high - low + 1, np.int32)
    table[known - low] = np.arange(len(known))
    return known, table[types - low].astype(np.int64)


def unequipment(column: Figures, rule: dict[str, Any]) -> Figures:
    """Undo `equipment`."""
    known = known_types(rule)
    first = _changes(column.values)
    alone = "begin" in rule or len(first) > _ALONE_MIN * len(column)  # the same code is another in another part
    few = column.values if alone else column.values[first]
    types = few // _SERIALS
    serials = few - types * _SERIALS
    ahead: Any = rule["ahead"]
    if ahead is None:
        count = rule.get("count", len(known))
        ahead, types = types // count, types % count
    types = types + rule.get("begin", 0)
    if len(types) > len(known):
        total, values = _luhn_sum(known, _TYPE_DIGITS).take(types), (known * (10 * _SERIALS) + _LEAD).take(types)
    else:
        total, values = _luhn_sum(known[types], _TYPE_DIGITS), known[types] * (10 * _SERIALS) + _LEAD
    total += _luhn_sum(serials, _SERIAL_DIGITS)
    total += 10 - ahead
    values += serials * 10
    values += _CHECK.take(total)
    if not alone:
        values = np.repeat(values, np.diff(first, append=len(column)))
    return Figures(values if column.valid is None else np.where(column.valid, values, 0), column.valid)


def equipment_ranges(rule: dict[str, Any], ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]] | None:
    """Return the kept values that stand for IMEIs in half-open ranges, each of one body whatever its last digit.

    None where a range is of another kind.
    """
    known = known_types(rule)
    found = []
    for first, last in ranges:
        if last <= _LEAD or first >= 2 * _LEAD:
            continue  # of another number of digits: the rule has none
        body, rest = divmod(first - _LEAD, 10)
        if rest or last != first + 10:
            return None
        kind, serial = divmod(body, _SERIALS)
        place = int(np.searchsorted(known, kind))
        if place < len(known) and known[place] == kind:
            aheads = range(10) if rule["ahead"] is None else (0,)
            codes = [(place + ahead * len(known)) * _SERIALS + serial for ahead in aheads]
            found += [(code, code + 1) for code in codes]
    return found


def known_types(rule: dict[str, Any]) -> Ints:
    """Return the types of a rule; they are kept beside it, as long as it is."""
    if "known" not in rule:
        rule["known"] = unpacked_ints(rule["types"])
    known: Ints = rule["known"]
    return known


def _changes(values: Ints) -> Ints:
    """Return the rows that differ from the one before: those of one handset stand side by side."""
    changes = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return np.flatnonzero(changes)


def luhn_digit(body: Ints) -> Ints:
    """Return the check digit of bodies of 14 digits (ISO/IEC 7812-1, annex B)."""
    return _CHECK.take(_luhn_sum(body, _TYPE_DIGITS + _SERIAL_DIGITS))


def _luhn_sum(numbers: Ints, digits: int) -> Ints:
    """Return the Luhn sum of numbers of so many digits; it adds up with that of even digits further right."""
    total = np.zeros(len(numbers), np.int64)
    rest = numbers
    for place in range((digits - 1) // 3):  # three digits at a time; the doubled ones are every second from the right
        upper = rest // 1_000
        total += _LUHN[place % 2].take(rest - upper * 1_000)
        rest = upper
    total += _LUHN[(digits - 1) // 3 % 2].take(rest)
    return total


def _luhn_table(*, doubled_first: bool) -> Ints:
    """Return the Luhn sums of all numbers of three digits; `doubled_first` says whether the last one is doubled."""
    numbers, total = np.arange(1_000), np.zeros(1_000, np.int64)
    for place in range(3):
        digits = numbers // 10**place % 10
        total += digits if doubled_first is (place == 1) else 2 * digits - 9 * (digits > 4)
    return total


_LUHN: Final = [_luhn_table(doubled_first=first) for first in (True, False)]
_REST: Final = np.arange(160) % 10
"""Of sums of digits; to look up is faster than to divide."""
_CHECK: Final = -np.arange(160) % 10
