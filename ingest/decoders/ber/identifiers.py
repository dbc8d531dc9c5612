"""Identifiers of BER fields, packed where they stand: no text is made of digits that the store packs anyway.

A column of identifiers is packed (int64, the digits behind a 1) when all that it holds are plain digits, else of texts.

Source: `schemas.packing` (the packed form), 3GPP TS 29.002 §17.7.8 (TBCD-STRING, AddressString).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.ber.values import Numbers, compiled_values
from ingest.decoders.ber.walk import Span
from schemas.buffers import Bytes, Column, Ints, Mask, pc
from schemas.packing import unpack_identifier

BARE: Final = 0
TYPED: Final = 1
DESTINATION: Final = 2
"""What stands in front of the digits: nothing, a type of number, that of a message's destination."""

_POWERS: Final[Ints] = 10 ** np.arange(19, dtype=np.int64)


class Identifiers(NamedTuple):
    """Packed identifiers, null where a record has none; `bad` are those of another form."""

    column: Column
    bad: Mask
    national: bool
    """Whether some are national numbers."""


def identifiers(data: Bytes, span: Span, lead: int = BARE, *, high_first: bool = False) -> Identifiers | None:
    """Return identifiers of up to 18 digits; None where some are no digits, or are too few to load the kernels for.

    `values.digit_chars` reads the others.
    """
    rows = len(span.starts)
    kernels = compiled_values(rows)
    if kernels is None:
        return None
    values, bad = np.empty(rows, np.int64), np.zeros(rows, np.bool_)
    starts, lengths = np.ascontiguousarray(span.starts), np.ascontiguousarray(span.lengths)
    told = kernels.read_identifiers(data, starts, lengths, lead, 4 * high_first, values, bad.view(np.uint8))
    if told & kernels.ODD:
        return None
    whole = told >> kernels.FLAG_BITS == rows
    return Identifiers(pa.array(values, mask=None if whole else values == 0), bad, bool(told & kernels.NATIONAL))


def packed(values: Ints) -> Ints:
    """Return numbers, 0 or more and of up to 18 digits, as identifiers of their decimal digits."""
    bounds = np.array([values.min(initial=_POWERS[-1] - 1), values.max(initial=0)], np.int64)
    least, most = np.maximum(np.searchsorted(_POWERS, bounds, side="right"), 1)
    if least == most:
        lead = _POWERS[least : least + 1]
    else:
        lead = _POWERS[np.maximum(np.searchsorted(_POWERS, values, side="right"), 1)]
    return values + lead


def in_digits(numbers: Numbers) -> Column:
    """Return integers as identifiers of their decimal digits, packed if all fit."""
    if int(numbers.values.max(initial=0)) >= _POWERS[-1]:
        return numbers.column(pa.int64()).cast(pa.string())
    return pa.array(packed(numbers.values), mask=~numbers.present | numbers.bad)


def alike(*columns: Column) -> list[Column]:
    """Return columns of identifiers in one form: packed if all of them are that tell anything, else texts."""
    telling = [column for column in columns if column.null_count < len(column)]
    kind = pa.int64() if telling and all(column.type == pa.int64() for column in telling) else pa.string()
    made = []
    for column in columns:
        if column.type == kind:
            made.append(column)
        else:
            silent = column.null_count == len(column)
            made.append(pa.nulls(len(column), kind) if silent else unpack_identifier(column))
    return made


def first_told(*columns: Column) -> Column:
    """Return, by record, the first of several identifiers that it has."""
    return pc.coalesce(*alike(*columns))
