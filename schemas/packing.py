"""Packing: delivered text to the compact columns of a part, and back without loss.

An identifier of 1 to 18 digits is an integer: its digits with a 1 in front, so that leading zeros survive
("0046" is 10046). Anything else stays text in the column beside it. Of the two columns
at most one is non-null in a row.
Addresses and MAC addresses are in `schemas.addresses`; their functions are public here.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.addresses import (
    pack_address,
    pack_address_value,
    pack_mac,
    pack_mac_value,
    unpack_address,
    unpack_mac,
)
from schemas.arrow import delivered_type
from schemas.buffers import Bytes, Column, Ints, as_text, flat, pc, text_views, valid_mask
from schemas.fields import FIELDS, Kind

__all__ = [
    "DIGITS_MAX",
    "digit_counts",
    "look_with",
    "looking",
    "pack_address",
    "pack_address_value",
    "pack_identifier",
    "pack_identifier_value",
    "pack_mac",
    "pack_mac_value",
    "unpack_address",
    "unpack_identifier",
    "unpack_identifier_value",
    "unpack_mac",
    "unpack_table",
]

DIGITS_MAX: Final = 18
"""Digits that fit in an int64 behind the leading 1."""

KERNEL_ROWS_MIN: Final = 4_096
"""Fewer values are looked at without a compiled kernel."""

_kernels: Final[list[Any]] = []
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
_LEADING_ONE: Final = 10 ** np.arange(DIGITS_MAX + 1, dtype=np.int64)
# By binary exponent of a float64: the decimal digits that a value of it has at least, less one.
_LOG10_FLOOR: Final = np.array([len(str(2**exponent)) - 1 for exponent in range(63)], np.int64)


def look_with(kernels: Any) -> None:
    """Look at many numbers with compiled kernels (`schemas.number_kernels`) from now on."""
    _kernels[:] = [kernels]


def looking(rows: int) -> Any:
    """Return the kernels to look at so many numbers with, or None."""
    return _kernels[0] if _kernels and rows >= KERNEL_ROWS_MIN else None


def digit_counts(packed: Ints) -> Ints:
    """Count the digits behind the leading 1 of each packed number: int64, 0 to `DIGITS_MAX`. Numbers are above 0."""
    exponent = (packed.astype(np.float64).view(np.int64) >> 52) - 1023
    counts = _LOG10_FLOOR.take(exponent, mode="clip")
    counts += packed >= _LEADING_ONE.take(counts + 1, mode="clip")
    return np.minimum(counts, DIGITS_MAX)


def pack_identifier(array: Column) -> tuple[Column, Column]:
    """Pack identifiers: (digits with a leading 1, text for everything else)."""
    column = flat(array)
    if isinstance(column, pa.DictionaryArray):
        packed, text = pack_identifier(column.dictionary)
        return packed.take(column.indices), text.take(column.indices)
    column = as_text(column)
    rows = len(column)
    if column.null_count == rows:
        return pa.nulls(rows, pa.int64()), pa.nulls(rows, pa.string())
    offsets, data = text_views(column)
    lengths = offsets[1:] - offsets[:-1]
    kernels = looking(rows)
    if kernels is not None:
        return _pack_compiled(kernels, column, offsets, data)
    if _all_digits(column, lengths, data):
        return _pack_digits(column, lengths), pa.nulls(rows, pa.string())
    # A cumulative count of the bytes that are no digits tells the rows apart.
    strange = np.zeros(len(data) + 1, np.int32)
    np.cumsum((data - np.uint8(_ZERO)) > np.uint8(9), out=strange[1:])
    fits = (strange[offsets[1:]] == strange[offsets[:-1]]) & (lengths > 0) & (lengths <= DIGITS_MAX)
    mask = pa.array(fits)
    digits = pc.if_else(mask, column, pa.scalar(None, pa.string()))
    text = pc.if_else(mask, pa.scalar(None, pa.string()), column)
    return _pack_digits(digits, np.where(fits, lengths, 0)), text


def _pack_compiled(kernels: Any, column: Column, offsets: np.ndarray[Any, Any], data: Bytes) -> tuple[Column, Column]:
    """Do what `pack_identifier` does with texts."""
    rows = len(column)
    packed, fits = np.empty(rows, np.int64), np.empty(rows, np.uint8)
    count = kernels.pack_digits(offsets, data, packed, fits)
    if count == 0:
        return pa.nulls(rows, pa.int64()), column
    chosen = fits.view(np.bool_)
    if column.null_count:
        chosen &= valid_mask(column)
        count = int(np.count_nonzero(chosen))
    if count == rows - column.null_count:
        return pa.array(packed, mask=None if count == rows else ~chosen), pa.nulls(rows, pa.string())
    text = pc.if_else(pa.array(chosen), pa.scalar(None, pa.string()), column)
    return pa.array(packed, mask=~chosen), text


def _all_digits(column: Column, lengths: np.ndarray[Any, Any], data: np.ndarray[Any, Any]) -> bool:
    """Tell whether every valid row is 1 to 18 digits, the case of almost every delivery."""
    if not len(data) or data.min() < _ZERO or data.max() > _NINE or lengths.max() > DIGITS_MAX:
        return False
    if column.null_count == 0:
        return bool(lengths.min() > 0)
    return bool(((lengths > 0) == valid_mask(column)).all())


def _pack_digits(column: Column, lengths: np.ndarray[Any, Any]) -> Column:
    """Pack rows of digits; null rows stay null."""
    return pc.add(pc.cast(column, pa.int64()), pa.array(_LEADING_ONE.take(lengths, mode="clip")))


def unpack_identifier(packed: Column, text: Column | None = None) -> Column:
    """Return the identifiers as they were before `pack_identifier`."""
    digits = pc.utf8_slice_codeunits(flat(packed).cast(pa.string()), 1)
    if text is None:
        return digits
    other = as_text(text)
    return digits if other.null_count == len(other) else pc.coalesce(digits, other)


def pack_identifier_value(text: str) -> tuple[int | None, str | None]:
    """Pack one identifier as `pack_identifier` does."""
    if 0 < len(text) <= DIGITS_MAX and text.isascii() and text.isdigit():
        return int("1" + text), None
    return None, text


def unpack_identifier_value(packed: int | None, text: str | None) -> str | None:
    """Return one identifier as it was before packing."""
    return str(packed)[1:] if packed is not None else text


def unpack_table(packed: pa.Table) -> pa.Table:
    """Return a packed table under its logical names and delivered types, for people.

    Columns that are no columns of the record are left out. A field is present when one of its columns is.
    """
    names = set(packed.schema.names)
    columns: dict[str, Any] = {}
    for field in FIELDS:
        second = field.name + {Kind.IDENTIFIER: "_text", Kind.ADDRESS: "_v6"}.get(field.kind, "")
        if field.name not in names and second not in names:
            continue
        first = packed.column(field.name) if field.name in names else None
        if field.kind is Kind.IDENTIFIER:
            digits = first if first is not None else pa.nulls(packed.num_rows, pa.int64())
            columns[field.name] = unpack_identifier(digits, packed.column(second) if second in names else None)
        elif field.kind is Kind.ADDRESS:
            columns[field.name] = unpack_address(first, packed.column(second) if second in names else None)
        elif field.kind is Kind.MAC:
            columns[field.name] = unpack_mac(packed.column(field.name))
        else:
            columns[field.name] = packed.column(field.name).cast(delivered_type(field))
    return pa.table(columns)
