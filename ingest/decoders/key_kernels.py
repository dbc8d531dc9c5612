"""Compiled loop that joins slices and numbers to keys (ADR 7); its twin is Arrow's `binary_join_element_wise`."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import inlined

numba: Any = importlib.import_module("numba")
types: Any = importlib.import_module("numba.core.types")

# Kinds of the parts of a key.
TEXT: Final = 0
LOWER: Final = 1  # a text in small letters
NUMBER: Final = 2
ADDRESS: Final = 3

_ZERO: Final = 0x30


def _number_into_of(value: Any, out: Any, place: Any) -> Any:
    """Write a whole number; return where it ends."""
    size, rest = 1, value // 10
    while rest:
        size, rest = size + 1, rest // 10
    for back in range(size):
        out[place + size - 1 - back] = _ZERO + value % 10
        value //= 10
    return place + size


_number_into: Any = inlined(_number_into_of)


def _joined_of(data: Any, kinds: Any, begins: Any, ends: Any, out: Any, offsets: Any) -> None:
    """Write the parts of each key with a space between them; what is absent or empty is a dash.

    Args:
        data: where slices lie.
        kinds: per part TEXT, LOWER, NUMBER or ADDRESS.
        begins, ends: per part and row a slice, or the number in `begins`; below 0 it is absent.
        out: room for all keys.
        offsets: where each key begins in it, and the last ends.
    """
    place = np.int64(0)
    for row in range(begins.shape[1]):
        offsets[row] = place
        for part in range(len(kinds)):
            if part:
                out[place] = 0x20
                place += 1
            kind, start, end = kinds[part], begins[part, row], ends[part, row]
            if start < 0 or (kind <= LOWER and end <= start):
                out[place] = 0x2D
                place += 1
            elif kind == NUMBER:
                place = _number_into(start, out, place)
            elif kind == ADDRESS:
                for octet in range(4):
                    if octet:
                        out[place] = 0x2E
                        place += 1
                    place = _number_into((start >> (24 - 8 * octet)) & 0xFF, out, place)
            else:
                for at in range(start, end):
                    octet = data[at]
                    if kind == LOWER and octet >= 0x41 and octet <= 0x5A:
                        octet |= np.uint8(0x20)
                    out[place] = octet
                    place += 1
    offsets[begins.shape[1]] = place


joined: Any = numba.njit(
    types.void(
        types.Array(types.uint8, 1, "C", readonly=True),
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(types.int64, 2, "C", readonly=True),
        types.Array(types.int64, 2, "C", readonly=True),
        types.Array(types.uint8, 1, "C"),
        types.Array(types.int32, 1, "C"),
    ),
    nogil=True,
)(_joined_of)
