"""Records written by columns: each column becomes texts once, and Arrow puts the rows together.

What a value has to be rewritten for (a quote, an ampersand) is looked for in all octets of a column at once; only a
column that has it is rewritten, each distinct text of it once. So what it costs hangs on what is written and not on how
many cells there are. The temporaries of a stretch of rows stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.buffers import Column, Mask, as_text, map_unique, pc, text_views

_STRETCH_ROWS: Final = 2_048
"""Of some 2 kB each in their largest form."""
_NULL: Final[Any] = pa.scalar(None, pa.string())


@dataclass(frozen=True, slots=True)
class Octets:
    """The octets of UTF-8 for which a text is rewritten: `anywhere` in it, or as its `first`."""

    anywhere: Mask
    first: Mask

    @classmethod
    def of(cls, anywhere: bytes, first: bytes = b"") -> Octets:
        """Return a table of these octets."""
        return cls(_flags(anywhere), _flags(first))

    def are_in(self, texts: Column) -> bool:
        """Tell whether any text of a string array has one of them."""
        offsets, data = text_views(texts)
        if self.anywhere.take(data).any():
            return True
        starts = offsets[:-1][offsets[1:] > offsets[:-1]]
        return bool(self.first.take(data.take(starts)).any())


def _flags(octets: bytes) -> Mask:
    table = np.zeros(256, np.bool_)
    table[list(octets)] = True
    return table


def stretches(table: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows in their order, as many at a time as are written at once."""
    for start in range(0, table.num_rows, _STRETCH_ROWS):
        yield table.slice(start, _STRETCH_ROWS)


def as_texts(column: Column) -> Column:
    """Return a column as an array of texts: numbers in digits, flags as `true` and `false`, nulls as they are.

    Raises:
        ValueError: a text is not UTF-8.
    """
    array = as_text(column)
    array.validate(full=True)
    return array


def rewritten(texts: Column, octets: Octets, function: Callable[[str], str]) -> Column:
    """Return texts with `function` applied, which leaves every text as it is that has none of `octets`."""
    return map_unique(texts, function, pa.string()) if octets.are_in(texts) else texts


def joined(*pieces: Column | str, between: str = "") -> Column:
    """Return row by row the pieces behind each other; null where one of them is null. One is an array."""
    return pc.binary_join_element_wise(*map(_piece, pieces), scalar(between))


def present(*pieces: Column | str) -> Column:
    """Return row by row the pieces that are not null behind each other; never null. One is an array."""
    # The empty piece is never null: of rows without any other, Arrow would make no row at all.
    return pc.binary_join_element_wise(scalar(""), *map(_piece, pieces), scalar(""), null_handling="skip")


def _piece(piece: Column | str) -> Any:
    return scalar(piece) if isinstance(piece, str) else piece


@lru_cache(maxsize=1024)
def scalar(text: str) -> Any:
    """Return a text as Arrow has it: for each that it makes itself it looks for a module of times anew."""
    return pa.scalar(text, pa.string())


def where(mask: Mask, texts: Column) -> Column:
    """Return the texts of some rows, null in the others."""
    return pc.if_else(pa.array(mask), texts, _NULL)


def octets_of(texts: Column) -> memoryview:
    """Return the octets of all texts behind each other, without a copy."""
    return text_views(texts)[1].data


def fixed(width: int, octets: Any) -> Column:
    """Return texts of one width: a row of `octets` (uint8, rows by width) each."""
    data = np.ascontiguousarray(octets)
    offsets = np.arange(0, width * (len(data) + 1), width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(offsets.tobytes()), pa.py_buffer(data.tobytes()))
