"""Identity runs: what duplicates are found by. The tags of a part, cut short and sorted, each with its row group.

A run is a block file under the partition's key, so no keyed hash of a record outlives its partition. It says where a
record of this identity may lie; the records themselves decide. Block 0 is the header:

    rows (8 bytes), rows of a row group (4), bits of a tag (2), 2 zero bytes, then the first cut tag of every block (8
    bytes each); little endian, as everything here

Each further block holds up to BLOCK_ROWS tags in Elias-Fano form: count (4 bytes), bits of a low part, bits of a group
(1 byte each), 2 zero bytes, 64-bit words of the high parts (8), first tag (8); then the high parts in unary, one bit
per tag at (high part + its number), and the low parts, each with its group above it, packed without gaps.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.errors import IntegrityError
from store import blocks, native
from store.binding import FileBinding

Tags = npt.NDArray[np.uint64]
Words = npt.NDArray[np.uint64]
"""Sorted: cut tag << GROUP_BITS_MAX | row group."""

TAG_BITS: Final = 46
"""A tag is cut to its first bits: among 200 million records, three new ones in a million seem known, and are read."""
GROUP_BITS_MAX: Final = 18
"""A part has at most 2^18 row groups; with a cut tag they fill one 64-bit word."""
BLOCK_ROWS: Final = 2048
KERNEL_ROWS_MIN: Final = 8192
"""Fewer rows are no reason to load the compiled kernels; when they are there, they are used."""

_HEADER: Final = struct.Struct("<QIHxx")
_BLOCK: Final = struct.Struct("<IBBxxQQ")
_GROUP_MASK: Final = np.uint64((1 << GROUP_BITS_MAX) - 1)
_SHIFT: Final = np.uint64(GROUP_BITS_MAX)
_MODULE: Final = "store.run_kernels"


def cut(tags: Tags) -> Tags:
    """Return the bits of tags that runs keep."""
    return tags >> np.uint64(64 - TAG_BITS)


def cut_of(words: Words) -> Tags:
    """Return the cut tags of a run."""
    return words >> _SHIFT


def words_of(tags: Tags, group_rows: int) -> Words:
    """Return the run of a part, given its tags in the order of its rows."""
    rows = np.arange(len(tags), dtype=np.uint64)
    words = (cut(tags) << _SHIFT) | (rows // np.uint64(group_rows))
    words.sort()
    return words


def write(path: Path, tags: Tags, group_rows: int, binding: FileBinding, partition_key: bytes) -> tuple[int, str]:
    """Write a part's run, given its tags in the order of its rows; return its size in bytes and its SHA-256."""
    size, data = blocks.write(path, encode(words_of(tags, group_rows), group_rows), binding, partition_key)
    return size, hashlib.sha256(data).hexdigest()


def encode(words: Words, group_rows: int) -> list[bytes]:
    """Return the blocks of a run."""
    groups = -(-len(words) // group_rows)
    if groups > 1 << GROUP_BITS_MAX:
        raise ValueError("a part has too many row groups")
    fences = (words[::BLOCK_ROWS] >> _SHIFT).astype("<u8")
    found = [_HEADER.pack(len(words), group_rows, TAG_BITS) + fences.tobytes()]
    group_bits = max(groups - 1, 0).bit_length()
    compiled = _compiled(len(words))
    for first in range(0, len(words), BLOCK_ROWS):
        found.append(_encode_block(words[first : first + BLOCK_ROWS], group_bits, compiled=compiled))
    return found


class RunReader:
    """An open run. It is closed when nobody refers to it any more: whoever holds one drops it with the key's lease."""

    def __init__(self, path: Path, binding: FileBinding, partition_key: bytes) -> None:
        """Open and authenticate the header.

        Raises:
            IntegrityError: the file is missing, is another, or does not authenticate.
        """
        self._file = blocks.BlockFile(path, binding, partition_key)
        header = self._file.read(0) if len(self._file) else b""
        if len(header) < _HEADER.size:
            raise IntegrityError(f"{binding} is not a run")
        self.rows, self.group_rows, tag_bits = _HEADER.unpack_from(header)
        self._fences = np.frombuffer(header, "<u8", offset=_HEADER.size)
        if len(self._fences) != len(self._file) - 1 or tag_bits != TAG_BITS:
            raise IntegrityError(f"{binding} is not a run")

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def words(self) -> Words:
        """Return the whole run."""
        return self._read(0, len(self._fences), compiled=_compiled(self.rows))

    def find(self, tags: Tags) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return which of these sorted cut tags the part may have, and in which row group: (places, groups).

        One tag costs one block; a place comes once for each row that may be it.
        """
        if len(tags) == 0 or self.rows == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        words = self._around(tags)
        theirs = words >> _SHIFT
        first, last = np.searchsorted(theirs, tags, side="left"), np.searchsorted(theirs, tags, side="right")
        hits = np.flatnonzero(last > first)
        counts = last[hits] - first[hits]
        places = np.repeat(hits, counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        groups = (words[np.repeat(first[hits], counts) + within] & _GROUP_MASK).astype(np.int64)
        return places.astype(np.int64), groups

    def _around(self, tags: Tags) -> Words:
        first = np.maximum(np.searchsorted(self._fences, tags, side="left") - 1, 0)
        last = np.searchsorted(self._fences, tags, side="right")  # equal tags may go on in the next block
        needed = np.zeros(len(self._fences) + 1, np.int64)
        np.add.at(needed, first, 1)
        np.add.at(needed, np.maximum(last, first + 1), -1)
        inside = np.concatenate([[False], np.cumsum(needed[:-1]) > 0, [False]])
        starts, stops = np.flatnonzero(~inside[:-1] & inside[1:]), np.flatnonzero(inside[:-1] & ~inside[1:])
        compiled = _compiled(int((stops - starts).sum()) * BLOCK_ROWS)
        pieces = [self._read(int(a), int(b), compiled=compiled) for a, b in zip(starts, stops, strict=True)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read(self, first: int, last: int, *, compiled: bool) -> Words:
        if first == last:
            return np.zeros(0, np.uint64)
        words = np.empty((last - first) * BLOCK_ROWS, np.uint64)
        filled = 0
        for block in self._file.read_range(first + 1, last + 1):
            filled += _decode_block(block, words[filled:], compiled=compiled)
        return words[:filled]


def _encode_block(words: Words, group_bits: int, *, compiled: bool) -> bytes:
    base, top = int(words[0]) >> GROUP_BITS_MAX, int(words[-1]) >> GROUP_BITS_MAX
    low_bits = max(((top - base) // len(words)).bit_length() - 1, 0)
    upper = np.zeros((len(words) + ((top - base) >> low_bits) + 64) // 64, "<u8")
    lower = np.zeros((len(words) * (low_bits + group_bits) + 63) // 64 + 1, "<u8")
    if compiled:
        native.load(_MODULE).pack(words, group_bits, low_bits, GROUP_BITS_MAX, upper, lower)
    else:
        _pack(words, group_bits, low_bits, upper, lower)
    return _BLOCK.pack(len(words), low_bits, group_bits, len(upper), base) + upper.tobytes() + lower[:-1].tobytes()


def _decode_block(block: bytes, words: Words, *, compiled: bool) -> int:
    rows, low_bits, group_bits, upper_words, base = _BLOCK.unpack_from(block)
    upper = np.frombuffer(block, "<u8", upper_words, _BLOCK.size)
    lower = np.zeros((len(block) - _BLOCK.size) // 8 - upper_words + 1, np.uint64)
    lower[:-1] = np.frombuffer(block, "<u8", offset=_BLOCK.size + 8 * upper_words)
    if compiled:
        native.load(_MODULE).unpack(upper.copy(), lower, base, group_bits, low_bits, GROUP_BITS_MAX, words[:rows])
    else:
        _unpack(upper, lower, base, group_bits, low_bits, words[:rows])
    return int(rows)


def _pack(words: Words, group_bits: int, low_bits: int, upper: Words, lower: Words) -> None:
    tags = words >> _SHIFT
    delta = tags - tags[0]
    places = (delta >> np.uint64(low_bits)).astype(np.int64) + np.arange(len(words))
    bits = np.zeros(len(upper) * 64, np.uint8)
    bits[places] = 1
    upper[:] = np.packbits(bits, bitorder="little").view("<u8")
    width = low_bits + group_bits
    if width == 0:
        return
    low = delta & np.uint64((1 << low_bits) - 1)
    values = low | ((words & np.uint64((1 << group_bits) - 1)) << np.uint64(low_bits))
    rows = np.unpackbits(values.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")[:, :width]
    packed = np.packbits(rows.ravel(), bitorder="little")
    lower.view(np.uint8)[: len(packed)] = packed


def _unpack(upper: Words, lower: Words, base: int, group_bits: int, low_bits: int, words: Words) -> None:
    rows, width = len(words), low_bits + group_bits
    bits = np.unpackbits(upper.view(np.uint8), bitorder="little")
    high = (np.flatnonzero(bits)[:rows] - np.arange(rows)).astype(np.uint64)
    values = np.zeros(rows, np.uint64)
    if width:
        packed = np.unpackbits(lower.view(np.uint8), bitorder="little")[: rows * width].reshape(rows, width)
        whole = np.zeros((rows, 64), np.uint8)
        whole[:, :width] = packed
        values = np.packbits(whole, axis=1, bitorder="little").view("<u8").ravel().astype(np.uint64)
    low = values & np.uint64((1 << low_bits) - 1)
    tags = np.uint64(base) + ((high << np.uint64(low_bits)) | low)
    words[:] = (tags << _SHIFT) | (values >> np.uint64(low_bits))


def _compiled(rows: int) -> bool:
    return rows >= KERNEL_ROWS_MIN or native.is_loaded(_MODULE)
