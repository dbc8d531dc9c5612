"""Blocks of identity runs: sorted words in Elias-Fano form. `store.identities.runs` says what the bytes mean."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from store import native

Words = npt.NDArray[np.uint64]

GROUP_BITS_MAX: Final = 18
"""A part has at most 2^18 row groups; with a cut tag they fill one 64-bit word."""
BLOCK_ROWS: Final = 2048
KERNEL_ROWS_MIN: Final = 8192
"""Fewer rows are no reason to load the compiled kernels; when they are there, they are used."""

_FEW_ROWS: Final = 24
"""A block of so few words is unpacked word by word: NumPy takes longer to begin than that takes."""

_BLOCK: Final = struct.Struct("<IBBxxQQ")
_SHIFT: Final = np.uint64(GROUP_BITS_MAX)
_MODULE: Final = "store.identities.run_kernels"


def encode(words: Words, group_bits: int, *, compiled: bool) -> bytes:
    """Return the block of at most BLOCK_ROWS sorted words, with so many bits of what stands beside tag or key."""
    base, top = int(words[0]) >> GROUP_BITS_MAX, int(words[-1]) >> GROUP_BITS_MAX
    low_bits = max(((top - base) // len(words)).bit_length() - 1, 0)
    upper = np.zeros((len(words) + ((top - base) >> low_bits) + 64) // 64, "<u8")
    lower = np.zeros((len(words) * (low_bits + group_bits) + 63) // 64 + 1, "<u8")
    if compiled:
        native.load(_MODULE).pack(words, group_bits, low_bits, GROUP_BITS_MAX, upper, lower)
    else:
        _pack(words, group_bits, low_bits, upper, lower)
    return _BLOCK.pack(len(words), low_bits, group_bits, len(upper), base) + upper.tobytes() + lower[:-1].tobytes()


def decode(block: bytes, words: Words, *, compiled: bool) -> int:
    """Read the words of a block into `words`; return how many they are."""
    rows, low_bits, group_bits, upper_words, base = _BLOCK.unpack_from(block)
    if rows <= _FEW_ROWS:
        words[:rows] = _unpack_few(block, rows, low_bits, group_bits, upper_words, base)
        return int(rows)
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


def _unpack_few(block: bytes, rows: int, low_bits: int, group_bits: int, upper_words: int, base: int) -> list[int]:
    """Return what `_unpack` puts into words."""
    at, width = _BLOCK.size + 8 * upper_words, low_bits + group_bits
    upper, lower = (int.from_bytes(piece, "little") for piece in (block[_BLOCK.size : at], block[at:]))
    words = []
    for number in range(rows):
        place = (upper & -upper).bit_length() - 1
        upper &= upper - 1
        value = (lower >> (number * width)) & ((1 << width) - 1)
        low = value & ((1 << low_bits) - 1)
        tag = base + (((place - number) << low_bits) | low)
        words.append((tag << GROUP_BITS_MAX) | (value >> low_bits))
    return words


def compiled(rows: int) -> bool:
    """Tell whether so many rows are packed or unpacked by the kernels."""
    return rows >= KERNEL_ROWS_MIN or native.is_loaded(_MODULE)
