"""Compiled loops of postings (ADR 7): hashing, gathering by block, coding, finding.

Twins: `store.index.hashing`, `store.index.coding`. No bounds are checked: callers size the arrays.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# mypy: disable-error-code="untyped-decorator"

_nb: Any = numba
_jit: Any = _nb.njit(nogil=True, inline="always")


def _compiled(*signatures: str) -> Any:
    return _nb.njit(list(signatures), nogil=True)


@_jit
def _mix(word: Any) -> Any:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@_compiled("i8(u8[::1], u4[::1], u8, u8[::1], u4[::1])")
def hash_packed(values: Any, groups: Any, seed: Any, hashes: Any, kept: Any) -> Any:
    """Hash whole numbers; a value that repeats the one before it in its group is left out. Return how many are kept."""
    count = 0
    last = np.uint64(0)
    for row in range(len(values)):
        value = values[row]
        if row and value == last and kept[count - 1] == groups[row]:
            continue
        last = value
        hashes[count] = _mix(seed ^ value)
        kept[count] = groups[row]
        count += 1
    return count


@_compiled("void(i4[::1], Array(u1, 1, 'C', readonly=True), u8, u8[::1])")
def hash_texts(offsets: Any, data: Any, seed: Any, hashes: Any) -> Any:
    """Hash texts that lie one after the other in `data`."""
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        found = _mix(seed ^ np.uint64(last - first))
        for at in range(first, last, 8):
            word = np.uint64(0)
            for byte in range(min(8, last - at)):
                word |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            found = _mix(found ^ word)
        hashes[row] = found


@_compiled("void(u8[::1], u8, u8, i8[::1])")
def count_blocks(hashes: Any, buckets: Any, width_bits: Any, counts: Any) -> Any:
    """Count the entries of each block."""
    for row in range(len(hashes)):
        bucket = ((hashes[row] >> np.uint64(32)) * buckets) >> np.uint64(32)
        counts[bucket >> width_bits] += 1


@_compiled("void(u8[::1], u4[::1], u8, u8, u8, i8[::1], u4[::1])")
def scatter(hashes: Any, groups: Any, buckets: Any, width_bits: Any, codes: Any, places: Any, entries: Any) -> Any:
    """Put every entry's place within its block into the block's stretch; `places`, the stretches' starts, move on."""
    mask = (np.uint64(1) << width_bits) - np.uint64(1)
    for row in range(len(hashes)):
        bucket = ((hashes[row] >> np.uint64(32)) * buckets) >> np.uint64(32)
        block = bucket >> width_bits
        entries[places[block]] = np.uint32((bucket & mask) * codes + np.uint64(groups[row]))
        places[block] += 1


@_jit
def _sink(heap: Any, root: Any, end: Any) -> None:
    """Let the value at `root` sink to its place in a heap of `end` values."""
    value = heap[root]
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and heap[child] < heap[child + 1]:
            child += 1
        if heap[child] <= value:
            break
        heap[root] = heap[child]
        root = child
    heap[root] = value


@_jit
def _heap_sort(stretch: Any) -> None:
    """Sort any numbers, in place."""
    count = len(stretch)
    for step in range(count // 2):
        _sink(stretch, count // 2 - 1 - step, count)
    for step in range(count - 1):
        end = count - 1 - step
        stretch[0], stretch[end] = stretch[end], stretch[0]
        _sink(stretch, 0, end)


@_jit
def _sort(stretch: Any, spare: Any, places: Any, bits: Any) -> None:
    """Sort evenly spread numbers below 2^`bits`: put each into its share of the range, then insert within shares."""
    count = len(stretch)
    share_bits = 0
    while share_bits < bits and (1 << share_bits) < count and (2 << share_bits) < len(places):
        share_bits += 1
    shift = np.uint32(bits - share_bits)
    for share in range((1 << share_bits) + 1):
        places[share] = 0
    for at in range(count):
        places[(stretch[at] >> shift) + 1] += 1
    for share in range(1 << share_bits):
        places[share + 1] += places[share]
    for at in range(count):
        share = stretch[at] >> shift
        spare[places[share]] = stretch[at]
        places[share] += 1
    moves_left = 32 * count
    for at in range(count):
        value = spare[at]
        to = at
        while to > 0 and stretch[to - 1] > value and moves_left > 0:
            stretch[to] = stretch[to - 1]
            to -= 1
            moves_left -= 1
        stretch[to] = value
    if moves_left <= 0:  # not evenly spread after all
        _heap_sort(stretch)


@_compiled("i8(u4[::1], i8[::1], i8[::1], i8, u4[::1], i8[::1])")
def sort_blocks(entries: Any, starts: Any, counts: Any, bits: Any, spare: Any, places: Any) -> Any:
    """Sort each stretch (below 2^`bits`), leave out what repeats; `counts` becomes what is left, the result its sum.

    `spare` has room for the longest stretch, `places` for twice that and four more, at most 65 540.
    """
    total = 0
    for block in range(len(counts)):
        first = starts[block]
        stretch = entries[first : first + counts[block]]
        _sort(stretch, spare, places, bits)
        kept = 0
        for at in range(len(stretch)):
            if kept == 0 or stretch[at] != stretch[kept - 1]:
                stretch[kept] = stretch[at]
                kept += 1
        counts[block] = kept
        total += kept
    return total


@_compiled("i8(u4[::1], i8[::1], i8[::1], i8, u1[::1], i8[::1])")
def encode_blocks(entries: Any, starts: Any, counts: Any, low_bits: Any, data: Any, ends: Any) -> Any:
    """Code each stretch (see `store.index.coding`) into `data`, which is all zeros; `ends` are the blocks' ends."""
    at = 0
    mask = (np.int64(1) << low_bits) - 1
    for block in range(len(counts)):
        count = counts[block]
        for byte in range(4):
            data[at + byte] = (count >> (8 * byte)) & 255
        low = (at + 4) * 8
        high = low + (count * low_bits + 7) // 8 * 8
        before = np.int64(-1)
        for entry in range(starts[block], starts[block] + count):
            value = np.int64(entries[entry])
            gap = value - before - 1
            before = value
            rest = gap & mask
            left = low_bits
            while left > 0:
                shift = low & 7
                data[low >> 3] |= np.uint8((rest << shift) & 255)
                taken = min(8 - shift, left)
                rest >>= taken
                low += taken
                left -= taken
            high += gap >> low_bits
            data[high >> 3] |= np.uint8(1 << (high & 7))
            high += 1
        at = (high + 7) // 8
        ends[block] = at
    return at


@_jit
def _find(data: Any, at: Any, size: Any, low_bits: Any, first: Any, last: Any, found: Any, hits: Any, room: Any) -> Any:
    """Write the entries of the block data[at:size] that lie in [first, last) into found[hits:room].

    Return where what was found ends, -1 if the block is torn.
    """
    if size - at < 4:
        return np.int64(-1)
    count = np.int64(0)
    for byte in range(4):
        count |= np.int64(data[at + byte]) << (8 * byte)
    low = np.int64(at + 4)
    high = low + (count * low_bits + 7) // 8
    if high > size:
        return np.int64(-1)
    mask = (np.int64(1) << low_bits) - 1
    lows = np.int64(0)  # bits that were read and not used yet, and how many
    lows_left = np.int64(0)
    highs = np.int64(0)
    highs_left = np.int64(0)
    value = np.int64(-1)
    for _ in range(count):
        gap = np.int64(0)
        while highs == 0:
            if high >= size:
                return np.int64(-1)
            gap += highs_left
            highs = np.int64(data[high])
            highs_left = np.int64(8)
            high += 1
        while not highs & 1:
            highs >>= 1
            highs_left -= 1
            gap += 1
        highs >>= 1
        highs_left -= 1
        while lows_left < low_bits:
            lows |= np.int64(data[low]) << lows_left
            lows_left += 8
            low += 1
        value += (gap << low_bits) + (lows & mask) + 1
        lows >>= low_bits
        lows_left -= low_bits
        if value >= last:
            break
        if value >= first:
            if hits == room:
                return np.int64(-1)
            found[hits] = value
            hits += 1
    return np.int64(hits)


@_compiled("i8(Array(u1, 1, 'C', readonly=True), i8[::1], i8[::1], i8[::1], i8[::1], i8[::1], i8[::1])")
def find_each(data: Any, ends: Any, low_bits: Any, firsts: Any, rooms: Any, found: Any, counts: Any) -> Any:
    """Search blocks that lie one after the other, each up to its end, for the `rooms` entries from its first on.

    Write what is found into `found`, the first search's before the next one's, and how many into `counts`. Return how
    many in all, -1 if a block is torn.
    """
    at = np.int64(0)
    hits = np.int64(0)
    for block in range(len(ends)):
        first = firsts[block]
        before = hits
        hits = _find(
            data, at, ends[block], low_bits[block], first, first + rooms[block], found, before, before + rooms[block]
        )
        if hits < 0:
            return np.int64(-1)
        counts[block] = hits - before
        at = ends[block]
    return hits
