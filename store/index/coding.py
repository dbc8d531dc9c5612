"""Postings of one field: sets of (bucket, row group), gathered in blocks by hash, as Golomb-Rice coded gaps.

A hash falls into one of `buckets` equal stretches; 2^`width_bits` buckets share a block. Within a block an entry is
bucket * codes + group; entries are sorted and distinct. A block is the count (4 bytes, little endian), the lower
`low_bits` bits of every gap, filled up to a whole byte, and the upper bits in unary: so many zeros, then a one. Bits go
from the lowest of a byte to the highest. A gap is the distance to the entry before, less one.

Which block holds a hash follows from the hash: one block is read for one lookup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.errors import IntegrityError
from store import native
from store.index.hashing import Words

Groups = npt.NDArray[np.uint32]

BLOCK_BYTES: Final = 512
"""What a block should have: small, for one lookup reads one; not smaller, for each has 24 bytes of tag and place."""
KERNEL_ROWS: Final = 8_192
_SAMPLE_BITS: Final = 12
_KERNELS: Final = "store.index.kernels"


@dataclass(frozen=True, slots=True)
class Shape:
    """How the entries of one field are laid out."""

    buckets: int
    width_bits: int
    codes: int
    low_bits: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return self.buckets >> self.width_bits

    def place(self, hashed: int) -> tuple[int, int]:
        """Return the block of a hash, and the first entry within it that its bucket may have."""
        bucket = ((hashed >> 32) * self.buckets) >> 32
        return bucket >> self.width_bits, (bucket & ((1 << self.width_bits) - 1)) * self.codes


def kernels(rows: int) -> Any:
    """Return the compiled loops if they are loaded, or there is enough work to load them; else None."""
    if rows < KERNEL_ROWS and not native.is_loaded(_KERNELS):
        return None
    return native.load(_KERNELS)  # it waits for the thread that is loading them


def bucket_bits(codes: int) -> int:
    """Return how many buckets an entry has, as a power of two: fewer where a read in vain costs less."""
    return 6 if codes <= 2 else 5 if codes <= 8 else 4


def encode(hashes: Words, groups: Groups, codes: int, bits: int) -> tuple[Shape, list[memoryview]]:
    """Return the blocks of entries (hash, group < codes), with 2^`bits` buckets for each distinct hash."""
    pairs, values = _distinct(hashes, groups)
    buckets = min(max(values, 1) << bits, 2**32 - 1)
    blocks_wanted = max(1, round(pairs * _entry_bits(buckets * codes / max(pairs, 1)) / 8 / BLOCK_BYTES))
    width_bits = max(0, (buckets // blocks_wanted).bit_length() - 1)
    width_bits = min(width_bits, 31 - codes.bit_length())  # a place within a block fits in 31 bits
    blocks = -(-buckets >> width_bits)
    buckets = blocks << width_bits
    compiled = kernels(len(hashes))
    gather = _gather if compiled is None else _gather_compiled
    entries, starts, counts = gather(hashes, groups, buckets, width_bits, codes)
    total = int(counts.sum())
    low_bits = _low_bits(buckets * codes / max(total, 1))
    shape = Shape(buckets, width_bits, codes, low_bits)
    if compiled is None:
        return shape, [_encode_block(entries[a : a + n], low_bits) for a, n in zip(starts, counts, strict=True)]
    return shape, _encode_compiled(compiled, entries, starts, counts, shape)


def find_each(blocks: Sequence[bytes], shapes: Sequence[Shape], firsts: Sequence[int], rows: int) -> list[list[int]]:
    """Search one block for each bucket: return the groups of those whose entries begin at `firsts`.

    `rows` of the parts that are asked decide how it is done.

    Raises:
        IntegrityError: a block is not whole.
    """
    compiled = kernels(rows)
    if compiled is None:
        return [_find(*one) for one in zip(blocks, shapes, firsts, strict=True)]
    ends = np.cumsum(np.fromiter(map(len, blocks), np.int64, len(blocks)))
    low_bits = np.array([shape.low_bits for shape in shapes], np.int64)
    rooms = np.array([shape.codes for shape in shapes], np.int64)
    starts = np.array(firsts, np.int64)
    found, counts = np.empty(int(rooms.sum()), np.int64), np.empty(len(blocks), np.int64)
    data = np.frombuffer(b"".join(blocks), np.uint8)
    total = compiled.find_each(data, ends, low_bits, starts, rooms, found, counts)
    if total < 0:
        raise IntegrityError("a block of postings is torn")
    if not total:
        return [[]] * len(blocks)
    groups = (found[:total] - np.repeat(starts, counts)).tolist()
    past = np.cumsum(counts).tolist()
    return [groups[first:last] for first, last in zip([0, *past[:-1]], past, strict=True)]


def _find(block: bytes, shape: Shape, first: int) -> list[int]:
    entries = _decode_block(np.frombuffer(block, np.uint8), shape.low_bits)
    chosen: list[int] = (entries[(entries >= first) & (entries < first + shape.codes)] - first).tolist()
    return chosen


def _distinct(hashes: Words, groups: Groups) -> tuple[int, int]:
    """Estimate how many distinct entries, and distinct hashes, there are, from those whose hash ends in zeros."""
    zeros = max(0, len(hashes).bit_length() - _SAMPLE_BITS)
    chosen = np.flatnonzero((hashes & np.uint64((1 << zeros) - 1)) == 0) if zeros else np.arange(len(hashes))
    values = hashes[chosen] >> np.uint64(12)  # the lowest bits are zeros, and make room for no more than a mark
    pairs = (hashes[chosen] & ~np.uint64(0xFFF)) ^ (groups[chosen].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return _count(pairs) << zeros, _count(values) << zeros


def _count(words: Words) -> int:
    """Return how many distinct words there are."""
    words.sort()
    return int((words[1:] != words[:-1]).sum()) + min(len(words), 1)


def _low_bits(mean_gap: float) -> int:
    """Return the parameter of the Rice code for gaps of this mean."""
    return max(0, int(np.floor(np.log2(max(mean_gap, 1.0) * 0.97))))


def _entry_bits(mean_gap: float) -> float:
    return _low_bits(mean_gap) + 1.6


def _gather(
    hashes: Words, groups: Groups, buckets: int, width_bits: int, codes: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    bucket = ((hashes >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
    place = (bucket & np.uint64((1 << width_bits) - 1)) * np.uint64(codes) + groups
    words = np.unique(((bucket >> np.uint64(width_bits)) << np.uint64(32)) | place)
    bounds = np.searchsorted(words, np.arange((buckets >> width_bits) + 1, dtype=np.uint64) << np.uint64(32))
    return (words & np.uint64(0xFFFFFFFF)).astype(np.uint32), bounds[:-1], np.diff(bounds)


def _gather_compiled(
    hashes: Words, groups: Groups, buckets: int, width_bits: int, codes: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    compiled = kernels(len(hashes))
    counts = np.zeros(buckets >> width_bits, np.int64)
    compiled.count_blocks(hashes, np.uint64(buckets), np.uint64(width_bits), counts)
    starts = np.cumsum(counts) - counts
    entries = np.empty(len(hashes), np.uint32)
    compiled.scatter(
        hashes, groups, np.uint64(buckets), np.uint64(width_bits), np.uint64(codes), starts.copy(), entries
    )
    longest = int(counts.max(initial=0))
    spare, places = np.empty(longest, np.uint32), np.empty(min(longest * 2, 65_536) + 4, np.int64)
    compiled.sort_blocks(entries, starts, counts, (codes << width_bits).bit_length(), spare, places)
    return entries, starts, counts


def _encode_compiled(
    compiled: Any,
    entries: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    shape: Shape,
) -> list[memoryview]:
    space = (shape.codes << shape.width_bits) >> shape.low_bits  # zeros of the unary part, at most, per block
    bits = int(counts.sum()) * (shape.low_bits + 1) + shape.blocks * (space + 32 + 16)
    data = np.zeros(bits // 8 + 16, np.uint8)
    ends = np.empty(shape.blocks, np.int64)
    compiled.encode_blocks(entries, starts, counts, shape.low_bits, data, ends)
    view, first, blocks = memoryview(data.data), 0, []
    for end in ends.tolist():
        blocks.append(view[first:end])
        first = end
    return blocks


def _encode_block(entries: npt.NDArray[np.uint32], low_bits: int) -> memoryview:
    values = entries.astype(np.int64)
    gaps = values - np.concatenate([[-1], values[:-1]]) - 1
    low = ((gaps[:, None] >> np.arange(low_bits)) & 1).astype(np.uint8)
    ones = np.cumsum((gaps >> low_bits) + 1) - 1
    high = np.zeros(int(ones[-1]) + 1 if len(ones) else 0, np.uint8)
    high[ones] = 1
    parts: Sequence[bytes] = (
        len(entries).to_bytes(4, "little"),
        np.packbits(low.reshape(-1), bitorder="little").tobytes(),
        np.packbits(high, bitorder="little").tobytes(),
    )
    return memoryview(b"".join(parts))


def _decode_block(data: npt.NDArray[np.uint8], low_bits: int) -> npt.NDArray[np.int64]:
    if len(data) < 4:
        raise IntegrityError("a block of postings is torn")
    count = int.from_bytes(data[:4].tobytes(), "little")
    middle = 4 + (count * low_bits + 7) // 8
    ones = np.flatnonzero(np.unpackbits(data[middle:], bitorder="little"))
    if len(ones) != count:
        raise IntegrityError("a block of postings is torn")
    low = np.unpackbits(data[4:middle], bitorder="little")[: count * low_bits].reshape(count, low_bits)
    gaps = (np.diff(ones, prepend=-1) - 1 << low_bits) + low @ (np.int64(1) << np.arange(low_bits, dtype=np.int64))
    return np.asarray(np.cumsum(gaps + 1) - 1)
