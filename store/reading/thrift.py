"""Structures in Thrift's compact protocol, as far as headers of Parquet's pages and of its encryption need it."""

from __future__ import annotations

from typing import Any, Final

_TRUE, _FALSE, _BINARY, _STRUCT = 1, 2, 8, 12
_WHOLE_NUMBERS: Final = (4, 5, 6)

Struct = dict[int, Any]
"""Values by the number of their field."""


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return an unsigned number of variable length, and where it ends.

    Raises:
        IndexError: it does not end.
    """
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def zigzag(value: int) -> int:
    """Return the signed number that an unsigned one stands for."""
    return (value >> 1) ^ -(value & 1)


def struct(data: bytes | memoryview, at: int = 0) -> tuple[Struct, int]:
    """Return a structure that begins at a place, and where it ends.

    Raises:
        IndexError: it does not end.
        ValueError: it has a field of a type that is not known here.
    """
    found: Struct = {}
    field = 0
    while kind := data[at]:
        step, kind = kind >> 4, kind & 15
        at += 1
        if step:
            field += step
        else:
            value, at = varint(data, at)
            field = zigzag(value)
        if kind in (_TRUE, _FALSE):
            found[field] = kind == _TRUE
        elif kind in _WHOLE_NUMBERS:
            value, at = varint(data, at)
            found[field] = zigzag(value)
        elif kind == _BINARY:
            size, at = varint(data, at)
            found[field] = bytes(data[at : at + size])
            at += size
        elif kind == _STRUCT:
            found[field], at = struct(data, at)
        else:
            raise ValueError("a structure has a field of an unknown type")
    return found, at + 1
