"""Compiled loops of pages (ADR 7); their twins are in `store.reading.page_values`. The caller sizes the arrays."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# mypy: disable-error-code="untyped-decorator"

_nb: Any = numba
_jit: Any = _nb.njit(nogil=True)
_BYTES = "Array(u1, 1, 'C', readonly=True)"
_PAGES = "Array(i8, 2, 'C', readonly=True)"


def _unpack_deltas_of(data: Any, at: Any, block: Any, miniblock: Any, values: Any) -> Any:
    """Undo `DELTA_BINARY_PACKED` behind its header: `values` begins with the first; return the end, -1 if torn."""
    size = np.int64(len(data))
    count = np.int64(len(values))
    done = np.int64(1)
    while done < count:
        least = np.uint64(0)
        shift = np.uint64(0)
        while True:
            if at >= size or shift > np.uint64(63):
                return np.int64(-1)
            part = np.uint64(data[at])
            at += 1
            least |= (part & np.uint64(127)) << shift
            shift += np.uint64(7)
            if part < np.uint64(128):
                break
        least = (least >> np.uint64(1)) ^ (np.uint64(0) - (least & np.uint64(1)))
        widths = at
        at += block // miniblock
        if at > size:
            return np.int64(-1)
        for number in range(block // miniblock):
            if done >= count:
                break
            width = np.int64(data[widths + number])
            if width > 64 or at + width * miniblock // 8 > size:
                return np.int64(-1)
            bit = at * 8
            for _ in range(min(miniblock, count - done)):
                value = np.uint64(0)
                left = width
                filled = np.uint64(0)
                while left > 0:
                    inner = bit & 7
                    taken = min(8 - inner, left)
                    byte = np.uint64(data[bit >> 3]) >> np.uint64(inner)
                    value |= (byte & ((np.uint64(1) << np.uint64(taken)) - np.uint64(1))) << filled
                    filled += np.uint64(taken)
                    bit += taken
                    left -= taken
                values[done] = np.int64(np.uint64(values[done - 1]) + value + least)
                done += 1
            at += width * miniblock // 8
    return at


def _unpack_levels_of(data: Any, found: Any) -> Any:
    """Undo Parquet's hybrid of runs and packed bits, of one bit each; return how many are set, -1 if torn."""
    size = np.int64(len(data))
    rows = np.int64(len(found))
    at = np.int64(0)
    told = np.int64(0)
    present = np.int64(0)
    while told < rows:
        run = np.int64(0)
        shift = np.int64(0)
        while True:
            if at >= size or shift > 56:
                return np.int64(-1)
            part = np.int64(data[at])
            at += 1
            run |= (part & 127) << shift
            shift += 7
            if part < 128:
                break
        count = run >> 1
        if count == 0 or count > size * 64 + rows:
            return np.int64(-1)
        if run & 1:
            if at + count > size:
                return np.int64(-1)
            for place in range(min(8 * count, rows - told)):
                bit = (data[at + (place >> 3)] >> (place & 7)) & 1
                found[told + place] = bit != 0
                present += np.int64(bit)
            told += 8 * count
            at += count
        else:
            if at >= size:
                return np.int64(-1)
            bit = data[at] & 1
            for place in range(min(count, rows - told)):
                found[told + place] = bit != 0
                present += np.int64(bit)
            told += count
            at += 1
    return present


_unpack_deltas: Any = _jit(_unpack_deltas_of)
_unpack_levels: Any = _jit(_unpack_levels_of)


@_nb.njit([f"i8({_BYTES}, i8, i8, i8, i8[::1])"], nogil=True)
def unpack_deltas(data: Any, at: Any, block: Any, miniblock: Any, values: Any) -> Any:
    """Undo `DELTA_BINARY_PACKED` behind its header: `values` begins with the first; return the end, -1 if torn."""
    return _unpack_deltas(data, at, block, miniblock, values)


@_nb.njit([f"i8({_BYTES}, b1[::1])"], nogil=True)
def unpack_levels(data: Any, found: Any) -> Any:
    """Undo Parquet's hybrid of runs and packed bits, of one bit each; return how many are set, -1 if torn."""
    return _unpack_levels(data, found)


@_jit
def _varint(data: Any, at: Any) -> Any:
    """Return an unsigned number of variable length, and where it ends; -1 if it does not."""
    value = np.uint64(0)
    shift = np.uint64(0)
    while at < len(data) and shift <= np.uint64(63):
        part = np.uint64(data[at])
        at += 1
        value |= (part & np.uint64(127)) << shift
        shift += np.uint64(7)
        if part < np.uint64(128):
            return value, np.int64(at)
    return value, np.int64(-1)


@_jit
def _levels_end(data: Any, end: Any, flags: Any) -> Any:
    """Undo the levels that a page begins with; return where they end, -1 if torn."""
    if end < 4:
        return np.int64(-1)
    size = np.int64(data[0]) | np.int64(data[1]) << 8 | np.int64(data[2]) << 16 | np.int64(data[3]) << 24
    if size > end - 4 or _unpack_levels(data[4 : 4 + size], flags) < 0:
        return np.int64(-1)
    return 4 + size


@_nb.njit([f"i8({_BYTES}, {_PAGES}, b1[::1], i8[::1], i8[::1], b1[::1])"], nogil=True)
def cut_deltas(data: Any, pages: Any, flags: Any, values: Any, found: Any, valid: Any) -> Any:
    """Return the number of values of rows [first, last) of each of some pages of differences; -1 if one is torn.

    A page is [begin, end, rows, first, last, whether it has nulls]; `flags` and `values` have room for the rows of any.
    """
    told = np.int64(0)
    for number in range(len(pages)):
        page = data[pages[number, 0] : pages[number, 1]]
        rows, first, last, nullable = pages[number, 2], pages[number, 3], pages[number, 4], pages[number, 5] != 0
        at, present, needed = np.int64(0), rows, last
        if nullable:
            at = _levels_end(page, np.int64(len(page)), flags[:rows])
            if at < 0:
                return np.int64(-1)
            present, needed = np.int64(0), np.int64(0)
            for row in range(rows):
                present += np.int64(flags[row])
                needed += np.int64(flags[row] and row < last)
        block, at = _varint(page, at)
        miniblocks, at = _varint(page, at) if at >= 0 else (block, at)
        count, at = _varint(page, at) if at >= 0 else (block, at)
        start, at = _varint(page, at) if at >= 0 else (block, at)
        if at < 0 or np.int64(count) != present or block == 0 or miniblocks == 0 or block > np.uint64(1 << 32):
            return np.int64(-1)
        if block % miniblocks != 0 or (block // miniblocks) % np.uint64(8) != 0:
            return np.int64(-1)
        if needed > 0:
            values[0] = np.int64((start >> np.uint64(1)) ^ (np.uint64(0) - (start & np.uint64(1))))
            size = np.int64(block // miniblocks)
            if _unpack_deltas(page, at, np.int64(block), size, values[:needed]) < 0:
                return np.int64(-1)
        place = np.int64(0)
        for row in range(last):
            there = not nullable or flags[row]
            if row >= first:
                found[told] = values[place] if there else np.int64(0)
                valid[told] = there
                told += 1
            place += np.int64(there)
    return told


@_nb.njit([f"i8({_BYTES}, {_PAGES}, i8, b1, b1[::1], u1[::1], b1[::1])"], nogil=True)
def cut_fixed(data: Any, pages: Any, width: Any, fills: Any, flags: Any, found: Any, valid: Any) -> Any:
    """Do as `cut_deltas` with values of `width` bytes; with `fills` a null is the value before it."""
    told = np.int64(0)
    for number in range(len(pages)):
        page = data[pages[number, 0] : pages[number, 1]]
        rows, first, last, nullable = pages[number, 2], pages[number, 3], pages[number, 4], pages[number, 5] != 0
        at, present = np.int64(0), rows
        if nullable:
            at = _levels_end(page, np.int64(len(page)), flags[:rows])
            if at < 0:
                return np.int64(-1)
            present = np.int64(0)
            for row in range(rows):
                present += np.int64(flags[row])
        if np.int64(len(page)) - at != present * width:
            return np.int64(-1)
        place = np.int64(0)
        for row in range(last):
            own = not nullable or flags[row]
            place += np.int64(own)
            if row < first:
                continue
            there = own or (fills and place > 0)
            valid[told] = there
            for byte in range(width):
                value = page[at + (place - 1) * width + byte] if there else np.uint8(0)
                found[told * width + byte] = value
            told += 1
    return told
