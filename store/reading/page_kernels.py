"""Compiled loops of pages (ADR 7); their twins are in `store.reading.page_values`. The caller sizes the arrays."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# mypy: disable-error-code="untyped-decorator"

_nb: Any = numba


@_nb.njit(["i8(Array(u1, 1, 'C', readonly=True), i8, i8, i8, i8[::1])"], nogil=True)
def unpack_deltas(data: Any, at: Any, block: Any, miniblock: Any, values: Any) -> Any:
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


@_nb.njit(["i8(Array(u1, 1, 'C', readonly=True), b1[::1])"], nogil=True)
def unpack_levels(data: Any, found: Any) -> Any:
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
