"""Compiled walk over a clean block of canonical CSV: bytes to packed columns (ADR 7).

`walk` takes some hundred lines at a time, so that they stay in the processor's cache: it finds the ends of their
fields, 64 bytes at a time, and then reads column after column, each in a loop of its own. Rows do not wait for each
other in such a loop; in one walk from field to field every field waits for the end of the one before.

What it does not understand in a field is an exception: its row, column and place come out, and the caller reads it the
long way. What it does not understand about a line (a quote, a control byte, another number of fields, a blank line)
ends the walk with STRANGE, and the whole block goes another way.

There are no bounds checks. The caller keeps `PAD_BYTES` of its own memory before the first byte and behind the last
one; no load reaches further. The twin that the tests compare this with is the road without it: Arrow's parser.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.json_kernels import BARE, EMPTY, LINE_BYTES_MAX, find_values
from ingest.decoders.word_kernels import (
    LABELS_MAX,
    PAD_BYTES,
    POWERS,
    SLOTS,
    clock,
    commas32,
    controls32,
    ctz,
    date,
    high32,
    inlined,
    label,
    load8,
    load64,
    newlines32,
    numba,
    number,
    ones,
    quad,
    quotes32,
    returns32,
    types,
)

__all__ = ["BARE", "EMPTY", "LABELS_MAX", "PAD_BYTES", "SLOTS", "copy_texts", "walk"]

# Kinds of columns: what the walk makes of a field.
IDENTIFIER: Final = 0  # wide: digits behind a leading 1
FIGURE: Final = 1  # wide: a whole number times its factor
TIME: Final = 2  # wide: µs since 1970 of a time in UTC
ADDRESS: Final = 3  # narrow: IPv4
LABEL: Final = 4  # narrow: code, in order of first appearance
TEXT: Final = 5  # wide: place of the first byte << 32 | length

# How a walk ends.
DONE: Final = 0
FULL: Final = 1  # the arrays are full: go on from `POSITION`
STRANGE: Final = 2
CROWDED: Final = 3  # column `CROWD` has too many labels: it is text

# Places in the state.
POSITION: Final = 0
ROWS: Final = 1
EXCEPTIONS: Final = 2
HIGH: Final = 3  # not 0: some byte is not ASCII
CROWD: Final = 4
CACHE: Final = 5  # to 7: the last date
STATE_SIZE: Final = 8

CHUNK_ROWS: Final = 512
ENDS_MORE: Final = 80  # what is written behind the last end
_DIGITS_MAX: Final = 18
_STEP: Final = 64
_NEWLINE: Final = 0x0A
_RETURN: Final = 0x0D
_MINUS: Final = 0x2D
_U = np.uint64
_NONE: Final = _U(0)
_HALF: Final = _U(32)


def _find_ends(base: Any, position: Any, size: Any, ends: Any, most: Any, state: Any) -> Any:
    """Write the places of commas and line feeds from a position on to `ends[1:]`.

    It stops when `most` are found, or a few more, or at the end of the block.

    Returns:
        How many are found (-1: there is a quote or another control byte), how many line feeds and carriage returns;
        and the place that it came to.
    """
    found, lines, returned, strange, wild = np.int64(0), np.int64(0), np.int64(0), _NONE, _NONE
    ends[0] = position - 1
    while position < size and found < most:
        at = base + position
        feeds = newlines32(at) | (newlines32(at + 32) << _HALF)
        carriage = returns32(at) | (returns32(at + 32) << _HALF)
        places = commas32(at) | (commas32(at + 32) << _HALF) | feeds
        odd = controls32(at) | (controls32(at + 32) << _HALF)
        odd = (odd & ~feeds & ~carriage) | quotes32(at) | (quotes32(at + 32) << _HALF)
        high = high32(at) | (high32(at + 32) << _HALF)
        if size - position < _STEP:
            within = (_U(1) << _U(size - position)) - _U(1)
            feeds, places, carriage, odd, high = (
                feeds & within,
                places & within,
                carriage & within,
                odd & within,
                high & within,
            )
        strange |= odd
        wild |= high
        count = ones(places)
        lines += ones(feeds)
        returned += ones(carriage)
        into, done = found + 1, np.int64(0)
        while done < count:  # eight at a time without a question; what is too much is written over
            for place in range(8):
                ends[into + done + place] = position + np.int64(ctz(places))
                places &= places - _U(1)
            done += 8
        found += count
        position += _STEP
    if wild != _NONE:
        state[HIGH] = 1
    return (found if strange == _NONE else np.int64(-1), lines, returned), min(position, size)


_find_ends_of: Any = numba.njit(nogil=True, error_model="numpy")(_find_ends)


def _whole_rows(base: Any, ends: Any, counts: Any, upto: Any, columns: Any, most: Any) -> Any:
    """Return (whole rows, at most so many, whether they end in CR LF); -1 rows when some line is not like the others.

    `counts` is what `_find_ends` returned, `upto` the place that it came to.
    """
    found, lines, returned = counts
    rows = min(found // columns, most)
    for place in range(rows * columns, found):  # what belongs to a row that is not whole is looked at again later
        lines -= np.int64(load8(base + ends[place + 1]) == _NEWLINE)
    if lines != rows:
        return np.int64(-1), False
    carriages = np.int64(0)
    for row in range(rows):
        end = ends[(row + 1) * columns]
        if load8(base + end) != _NEWLINE or end - ends[row * columns] > LINE_BYTES_MAX:
            return np.int64(-1), False
        carriages += np.int64(load8(base + end - 1) == _RETURN)
    if returned:
        for place in range(ends[rows * columns] + 1, upto):
            returned -= np.int64(load8(base + place) == _RETURN)
    if carriages != returned or (carriages > 0 and carriages != rows):
        return np.int64(-1), False
    return rows, carriages > 0


_whole_rows_of: Any = numba.njit(nogil=True, error_model="numpy")(_whole_rows)


def _field(kind: Any, at: Any, length: Any, factor: Any, limit: Any, cache: Any) -> Any:
    """Return (value, whether it is understood) of a field that is not empty.

    `cache` holds the last date: its first eleven bytes in two words, and its µs since 1970.
    """
    value, bad = np.int64(0), np.int64(-1)
    if kind == IDENTIFIER:
        if length <= _DIGITS_MAX:
            bad = number(at, length)
            value = bad + POWERS[length]
    elif kind == ADDRESS:
        value = bad = quad(at, length)
    elif kind == FIGURE:
        sign = np.int64(load8(at) == _MINUS)
        if length > sign and length - sign <= _DIGITS_MAX:
            bad = number(at + sign, length - sign)
            value = (-bad if sign else bad) * factor
            bad = np.int64(-1) if bad > limit else bad
    else:
        first, second = np.int64(load64(at)), np.int64(load64(at + 8)) & 0xFFFFFF
        if first != cache[0] or second != cache[1]:
            mark = load8(at + 10)
            cache[0], cache[1], cache[2] = first, second, date(at)
            if mark != 0x20 and mark != 0x54:  # noqa: PLR1714 (compiled)
                cache[2] = -1
        bad = clock(at + 11, length - 11) if cache[2] >= 0 else bad
        value = cache[2] + bad
    return value, bad >= 0


_field_of: Any = inlined(_field)


def _read(
    kind: Any, base: Any, ends: Any, shape: Any, plan: Any, out: Any, nulls: Any, exceptions: Any, state: Any
) -> Any:
    """Read one column of some rows: identifiers, figures, times or addresses.

    `shape` is (rows so far, rows to read, places of a line in `ends`, that of this column, bytes of its line end before
    the line feed).
    """
    before, rows, columns, column, carriage = shape
    cache = state[CACHE:STATE_SIZE]
    cache[0] = cache[1] = cache[2] = -1
    found = state[EXCEPTIONS]
    for row in range(rows):
        place = row * columns + column
        start = ends[place] + 1
        length = ends[place + 1] - carriage - start
        value, good = np.int64(0), False
        if length > 0:
            value, good = _field_of(kind, base + start, length, plan[2], plan[3], cache)
        if not good:
            value = np.int64(0)
            nulls[before + row] = 1
            if length > 0:
                exceptions[found, 0], exceptions[found, 1] = before + row, plan[4]
                exceptions[found, 2], exceptions[found, 3] = start, length
                found += 1
        out[before + row] = value
    state[EXCEPTIONS] = found


_read_of: Any = inlined(_read)


def _read_texts(ends: Any, shape: Any, out: Any, nulls: Any) -> None:
    """Tell where the texts of a column are."""
    before, rows, columns, column, carriage = shape
    for row in range(rows):
        start = ends[row * columns + column] + 1
        length = ends[row * columns + column + 1] - carriage - start
        nulls[before + row] = length == 0
        out[before + row] = (start << 32) | length if length > 0 else 0


_read_texts_of: Any = inlined(_read_texts)


def _read_labels(
    base: Any, ends: Any, shape: Any, out: Any, nulls: Any, table: Any, slots: Any, keys: Any, places: Any
) -> Any:
    """Encode the labels of a column; False when there are too many."""
    before, rows, columns, column, carriage = shape
    for row in range(rows):
        start = ends[row * columns + column] + 1
        length = ends[row * columns + column + 1] - carriage - start
        code = np.int64(0)
        if length > 0:
            code = label(base, base + start, length, table, slots, keys, places)
            if code < 0:
                return False
        else:
            nulls[before + row] = 1
        out[before + row] = code
    return True


_read_labels_of: Any = inlined(_read_labels)


def _walk(
    base: Any,
    size: Any,
    marks: Any,
    places_of_marks: Any,
    plan: Any,
    taken: Any,
    wide: Any,
    narrow: Any,
    nulls: Any,
    exceptions: Any,
    slots: Any,
    keys: Any,
    places: Any,
    ends: Any,
    state: Any,
) -> Any:
    """Read lines from `state[POSITION]` on and return how it ended.

    Args:
        base: address of the first byte.
        size: bytes of the block, the line feed of the last line among them.
        marks, places_of_marks: what stands between the values of JSON objects (`json_kernels`); no places for CSV.
        plan: int64 per column: kind, line in `wide` or `narrow`, factor, largest figure before it, its own number.
        taken: int64 per column: what JSON may write in it.
        wide: int64, a line per column of identifiers, figures, times and texts.
        narrow: uint32, a line per column of addresses and labels.
        nulls: uint8 per column and row, 0 on entry: 1 where nothing was delivered, or an exception was.
        exceptions: int64 per exception: row, column, place of the first byte, length.
        slots, keys, places: the label tables, one for each line of `narrow` (see `word_kernels.label`).
        ends: int64, two for each column and line of a chunk (one for CSV), and `ENDS_MORE`.
        state: int64, POSITION to CACHE.
    """
    columns, capacity, objects = len(plan), nulls.shape[1], len(places_of_marks) > 0
    step = 2 if objects else 1
    while state[POSITION] < size:
        before = state[ROWS]
        most = min(CHUNK_ROWS, capacity - before)
        if most == 0 or state[EXCEPTIONS] + most * columns > len(exceptions):
            return FULL
        if objects:
            returned = False
            rows, after, high = find_values(
                base, state[POSITION], size, ends, most, columns, taken, marks, places_of_marks
            )
            state[HIGH] |= np.int64(high)
        else:
            counts, upto = _find_ends_of(base, state[POSITION], size, ends, most * columns, state)
            if counts[0] < columns:
                return STRANGE
            rows, returned = _whole_rows_of(base, ends, counts, upto, columns, most)
            after = ends[rows * columns] + 1
        if rows < 1:
            return STRANGE
        for column in range(columns):
            kind, line = plan[column, 0], plan[column, 1]
            carriage = np.int64(returned and column == columns - 1)
            shape = (before, rows, columns * step, column * step, carriage)
            own, absent = plan[column], nulls[column]
            if kind == IDENTIFIER:
                _read_of(IDENTIFIER, base, ends, shape, own, wide[line], absent, exceptions, state)
            elif kind == FIGURE:
                _read_of(FIGURE, base, ends, shape, own, wide[line], absent, exceptions, state)
            elif kind == TIME:
                _read_of(TIME, base, ends, shape, own, wide[line], absent, exceptions, state)
            elif kind == ADDRESS:
                _read_of(ADDRESS, base, ends, shape, own, narrow[line], absent, exceptions, state)
            elif kind == TEXT:
                _read_texts_of(ends, shape, wide[line], absent)
            elif not _read_labels_of(base, ends, shape, narrow[line], absent, line, slots, keys, places):
                state[CROWD] = column
                return CROWDED
        state[POSITION], state[ROWS] = after, before + rows
    return DONE


walk: Any = numba.njit(
    types.int64(
        types.int64,
        types.int64,
        types.int64,
        types.int64[::1],
        types.int64[:, ::1],
        types.int64[::1],
        types.int64[:, ::1],
        types.uint32[:, ::1],
        types.uint8[:, ::1],
        types.int64[:, ::1],
        types.int16[:, ::1],
        types.uint64[:, :, ::1],
        types.int64[:, :, ::1],
        types.int64[::1],
        types.int64[::1],
    ),
    nogil=True,
    error_model="numpy",
)(_walk)


def _copy_texts(base: Any, starts: Any, offsets: Any, data: Any) -> None:
    """Copy texts side by side: text i from `base + starts[i]` to `data[offsets[i]:offsets[i + 1]]`."""
    for index in range(len(starts)):
        at, into = base + starts[index], offsets[index]
        for place in range(offsets[index + 1] - into):
            data[into + place] = load8(at + place)


copy_texts: Any = numba.njit(types.void(types.int64, types.int64[::1], types.int32[::1], types.uint8[::1]), nogil=True)(
    _copy_texts
)
