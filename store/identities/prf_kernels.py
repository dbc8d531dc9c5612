"""The compiled twin of the padding of texts to blocks (ADR 7); `store.identities.prf` encrypts what it writes.

There are no bounds checks: slices lie inside the data.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")

_BYTES: Final = numba.types.Array(numba.uint8, 1, "C", readonly=True)
_PLACES: Final = numba.types.Array(numba.int64, 1, "C", readonly=True)
_BLOCKS: Final = numba.types.Array(numba.uint64, 2, "C")
_U: Final = np.uint64
_WORD_BYTES: Final = 8


def _word_of(data: Any, at: Any, end: Any) -> Any:
    """Return the eight bytes from `at` on as a word, little end first; zeros from `end` on."""
    if at + _WORD_BYTES <= end:  # eight loads that become one
        return (
            _U(data[at])
            | _U(data[at + 1]) << _U(8)
            | _U(data[at + 2]) << _U(16)
            | _U(data[at + 3]) << _U(24)
            | _U(data[at + 4]) << _U(32)
            | _U(data[at + 5]) << _U(40)
            | _U(data[at + 6]) << _U(48)
            | _U(data[at + 7]) << _U(56)
        )
    word, shift = _U(0), _U(0)
    for place in range(at, end):
        word |= _U(data[place]) << shift
        shift += _U(8)
    return word


_word: Any = numba.njit(numba.uint64(_BYTES, numba.int64, numba.int64), nogil=True, inline="always")(_word_of)


def _mix_of(data: Any, starts: Any, lengths: Any, number: Any, states: Any) -> None:
    """Xor into the state of each text its block `number`, padded with zeros."""
    for row in range(len(starts)):
        end = starts[row] + lengths[row]
        at = starts[row] + number * 2 * _WORD_BYTES
        states[row, 0] ^= _word(data, at, end)
        states[row, 1] ^= _word(data, at + _WORD_BYTES, end)


mix: Any = numba.njit(numba.void(_BYTES, _PLACES, _PLACES, numba.int64, _BLOCKS), nogil=True)(_mix_of)
