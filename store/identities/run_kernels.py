"""Compiled twins of `store.identities.run_blocks` (ADR 7); `store.identities.runs` says what the bytes mean."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
trailing_zeros: Any = importlib.import_module("numba.cpython.unsafe.numbers").trailing_zeros

_U = np.uint64
_ONE: Final = _U(1)
_SIX: Final = _U(6)
_WORD: Final = _U(64)
_IN_WORD: Final = _U(63)


def _pack_of(words: Any, group_bits: Any, low_bits: Any, shift: Any, upper: Any, lower: Any) -> None:
    """Write one block: `words` are sorted (tag << shift | group); `upper` and `lower` hold zeros."""
    base = words[0] >> shift
    width = low_bits + group_bits
    low_mask = (_ONE << low_bits) - _ONE
    group_mask = (_ONE << group_bits) - _ONE
    place = _U(0)
    for index in range(len(words)):
        word = words[index]
        delta = (word >> shift) - base
        bit = (delta >> low_bits) + _U(index)
        upper[bit >> _SIX] |= _ONE << (bit & _IN_WORD)
        value = ((word & group_mask) << low_bits) | (delta & low_mask)
        offset = place & _IN_WORD
        lower[place >> _SIX] |= value << offset
        if offset + width > _WORD:
            lower[(place >> _SIX) + _ONE] |= value >> (_WORD - offset)
        place += width


pack: Any = numba.njit("void(u8[::1], u8, u8, u8, u8[::1], u8[::1])", nogil=True)(_pack_of)


def _unpack_of(upper: Any, lower: Any, base: Any, group_bits: Any, low_bits: Any, shift: Any, words: Any) -> None:
    """Read one block into `words`; `lower` has one word more than it needs."""
    width = low_bits + group_bits
    low_mask = (_ONE << low_bits) - _ONE
    rows = _U(len(words))
    index = _U(0)
    place = _U(0)
    for number in range(len(upper)):
        bits = upper[number]
        first = _U(number) << _SIX
        while bits != _U(0) and index < rows:
            bit = first + _U(trailing_zeros(bits))
            bits &= bits - _ONE
            offset = place & _IN_WORD
            value = lower[place >> _SIX] >> offset
            if offset + width > _WORD:
                value |= lower[(place >> _SIX) + _ONE] << (_WORD - offset)
            tag = base + (((bit - index) << low_bits) | (value & low_mask))
            group = (value >> low_bits) & ((_ONE << group_bits) - _ONE)
            words[index] = (tag << shift) | group
            place += width
            index += _ONE


unpack: Any = numba.njit("void(u8[::1], u8[::1], u8, u8, u8, u8, u8[::1])", nogil=True)(_unpack_of)
