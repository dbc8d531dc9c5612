"""Rows of pages that were opened and are still encoded: a column of many files is decoded in one pass. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.errors import IntegrityError
from store.reading import page_values

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

Page = tuple[bytes, int, int, int]
"""A decompressed page, its rows, and of these [first, last)."""


@dataclass(slots=True)
class Cut:
    """Some rows of one column, page by page."""

    kind: Any
    """Arrow's type of the values."""
    nullable: bool
    pages: list[Page]
    fills: bool = False
    """A null is the value before it; each page begins with one."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(last - first for _, _, first, last in self.pages)

    def of(self, numbers: npt.NDArray[np.int64]) -> Cut:
        """Return some of the rows, by their ascending numbers here."""
        pages: list[Page] = []
        at, past, (data, rows, first, last) = 0, 0, self.pages[0]
        for number in numbers.tolist():
            while number - past >= last - first:
                past += last - first
                at += 1
                data, rows, first, last = self.pages[at]
            row = first + number - past
            pages.append((data, rows, row, row + 1))
        return Cut(self.kind, self.nullable, pages, self.fills)

    def octets(self) -> npt.NDArray[np.uint8]:
        """Return rows x bytes of values of one width, none of them null.

        Raises:
            IntegrityError: a page does not hold what its part says.
        """
        try:
            return np.frombuffer(_octets([self]), np.uint8).reshape(-1, self.kind.byte_width)
        except ValueError as error:
            raise IntegrityError("a page does not hold the rows that its part says") from error


def decoded(cuts: Sequence[Cut]) -> Any:
    """Return the rows of cuts of one type, one after the other, as an Arrow array.

    Raises:
        IntegrityError: a page does not hold what its part says.
    """
    try:
        return _decoded(cuts)
    except MemoryError:
        raise  # it says nothing of the page
    except (IndexError, ValueError, pa.ArrowException) as error:
        raise IntegrityError("a page does not hold the rows that its part says") from error


def _decoded(cuts: Sequence[Cut]) -> Any:
    kind = cuts[0].kind
    if pa.types.is_fixed_size_binary(kind) and not any(cut.nullable for cut in cuts):
        return _sliced(cuts, kind)
    kernels = (
        None
        if pa.types.is_string(kind)
        else page_values.kernels(sum(rows for cut in cuts for _, rows, _, _ in cut.pages))
    )
    if kernels is None:
        arrays = [_one(cut, page) for cut in cuts for page in cut.pages]
        return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
    told = [(*page, cut.nullable) for cut in cuts for page in cut.pages]
    data, pages, rows = _laid(told)
    flags, valid = np.empty(pages[:, 2].max(), np.bool_), np.empty(rows, np.bool_)
    found: Any
    if pa.types.is_int64(kind):
        found = np.empty(rows, np.int64)
        count = kernels.cut_deltas(data, pages, flags, np.empty(len(flags), np.int64), found, valid)
    else:
        found = np.empty(rows * kind.byte_width, np.uint8)
        count = kernels.cut_fixed(data, pages, kind.byte_width, cuts[0].fills, flags, found, valid)
    if count != rows:
        raise ValueError("a page is torn")
    return page_values.array(kind, rows, found, None if valid.all() else valid)


def _sliced(cuts: Sequence[Cut], kind: Any) -> Any:
    whole = _octets(cuts)
    return page_values.array(kind, len(whole) // kind.byte_width, whole, None)


def _octets(cuts: Sequence[Cut]) -> bytes:
    width = cuts[0].kind.byte_width
    pieces: list[bytes] = []
    for cut in cuts:
        for data, rows, first, last in cut.pages:
            if len(data) != rows * width:
                raise ValueError("a page has other values than it says")
            pieces.append(data if last - first == rows else data[first * width : last * width])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _laid(told: Sequence[tuple[bytes, int, int, int, bool]]) -> tuple[page_values.Bytes, page_values.Ints, int]:
    """Lay pages end to end, a page of several cuts once; return them, what the kernels need of each, and all rows."""
    places: dict[int, int] = {}
    laid: list[bytes] = []
    size = 0
    for data, *_ in told:
        if id(data) not in places:
            places[id(data)] = size
            laid.append(data)
            size += len(data)
    begins = [places[id(data)] for data, *_ in told]
    pages = np.array(
        [
            (begin, begin + len(data), rows, first, last, nullable)
            for begin, (data, rows, first, last, nullable) in zip(begins, told, strict=True)
        ],
        np.int64,
    )
    return np.frombuffer(b"".join(laid), np.uint8), pages, int((pages[:, 4] - pages[:, 3]).sum())


def _one(cut: Cut, page: Page) -> Any:
    """Twin of the compiled loops, page by page; texts have no other."""
    data, rows, first, last = page
    array = page_values.values(data, rows, cut.kind, nullable=cut.nullable)
    return (pc.fill_null_forward(array) if cut.fills else array).slice(first, last - first)
