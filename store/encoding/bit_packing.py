"""Words: the columns of a part that nothing squeezes, side by side in as few bits as their spans need.

Random figures (addresses, numbers called, times) cost a general encoder as much time as others and save it nothing. So
each takes a slot of its span's bits in one word of fixed width per record: written and read as one column, by shifts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.buffers import STRETCH_ROWS

SLOT_BITS_MAX: Final = 56
"""A slot begins at any bit of a byte and is reached through 64 bits from there."""
_WINDOW: Final = 8

Codes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a column lies in the words: `bits` bits from bit `at` on, counted from the lowest of the first byte."""

    at: int
    bits: int


def width_of(bits: int) -> int:
    """Return the bytes of a word of so many bits."""
    return -(-bits // 8)


CodesOf = Callable[[int, int], Codes]
"""Gives a column's codes of a stretch of rows [start, stop)."""


def pack(slots: Sequence[Slot], columns: Sequence[CodesOf], width: int, rows: int) -> npt.NDArray[np.uint8]:
    """Return the words of all rows, rows x width bytes; every code must fit its slot."""
    room = max(width, _WINDOW)
    out = np.zeros((rows, width), np.uint8)
    buffer = out if room == width else np.zeros((min(rows, STRETCH_ROWS), room), np.uint8)
    for start in range(0, rows, STRETCH_ROWS):
        stop = min(start + STRETCH_ROWS, rows)
        stretch = buffer[start:stop] if buffer is out else buffer[: stop - start]
        stretch[:] = 0
        for slot, codes_of in zip(slots, columns, strict=True):
            window, shift = _window(stretch, slot)
            window |= codes_of(start, stop) << np.uint64(shift)
        if buffer is not out:
            out[start:stop] = stretch[:, :width]
    return out


def unpack(words: npt.NDArray[np.uint8], slot: Slot) -> Codes:
    """Return a slot's codes, given words of rows x width bytes."""
    rows, width = words.shape
    if width < _WINDOW:
        padded = np.zeros((rows, _WINDOW), np.uint8)
        padded[:, :width] = words
        words = padded
    window, shift = _window(words, slot)
    codes: Codes = window >> np.uint64(shift)
    codes &= np.uint64((1 << slot.bits) - 1)
    return codes


def unpack_each(words: npt.NDArray[np.uint8], at: Ints, bits: Ints) -> Codes:
    """Return the codes of many slots, rows x columns, given words of rows x width bytes, and each row's slots."""
    rows, width = words.shape
    laid = np.zeros(rows * width + _WINDOW, np.uint8)
    laid[: rows * width] = words.reshape(-1)
    windows: Codes = np.ndarray((rows * width + 1,), "<u8", laid, 0, (1,))
    codes: Codes = windows[np.arange(rows)[:, None] * width + (at >> 3)]
    codes >>= (at & 7).astype(np.uint64)
    codes &= ((np.int64(1) << bits) - 1).view(np.uint64)
    return codes


def _window(words: npt.NDArray[np.uint8], slot: Slot) -> tuple[Codes, int]:
    """Return the 64 bits of every row in which a slot lies, as a view, and its first bit in them."""
    rows, width = words.shape
    byte = min(slot.at // 8, width - _WINDOW)
    view: Codes = np.ndarray((rows,), "<u8", words, byte, (width,))
    return view, slot.at - 8 * byte
