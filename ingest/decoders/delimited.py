"""Rows of CSV files whose columns are known by name: split, counted, and gathered into one text column per field.

For formats that are converted in columns: a stretch of rows becomes texts by name, and what was refused is told with
its line. Bytes leave here only for the columns that the format reads; any other may hold what nobody may keep.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final

import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.slices import Column, Faults
from ingest.lines import Line
from schemas.rejects import Reject, RejectReason

STRETCH_ROWS: Final = 16_384
STRETCH_BYTES: Final = 16 << 20

Convert = Callable[[Mapping[str, Column], int, Faults], pa.Table]


def split_row(data: bytes) -> list[str] | None:
    """Return the columns of one row, None when it is no CSV.

    Raises:
        UnicodeDecodeError: the row is not UTF-8.
    """
    text = data.decode().removesuffix("\r")  # of a line end that was cut within
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration):
        return None


@lru_cache(64)
def picker(names: tuple[str, ...], wanted: tuple[str, ...]) -> Callable[[Sequence[str]], tuple[str, ...]]:
    """Return what takes the wanted columns out of a row with an empty text behind it, which stands for absent ones."""
    return itemgetter(*(names.index(name) if name in names else -1 for name in wanted))


class ColumnStretch:
    """Some rows of a delivery, on their way into columns of `wanted`."""

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self._wanted = wanted
        self._rows: list[tuple[str, ...]] = []
        self._places: list[tuple[int, int, int]] = []  # position, offset, length
        self._rejects: list[Reject] = []
        self._size_bytes = 0

    def take(self, position: int, line: Line, values: tuple[str, ...]) -> None:
        """Take one row's wanted columns."""
        self._rows.append(values)
        self._places.append((position, line.offset, line.length_bytes))
        self._size_bytes += line.length_bytes

    def refuse(self, position: int, line: Line, reason: RejectReason) -> None:
        """Refuse a line in which no column can be told from another; its bytes are not kept."""
        self._rejects.append(Reject(position, reason, None, line.offset, line.length_bytes))
        self._size_bytes += len(line.data)

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand over."""
        return len(self._rows) + len(self._rejects) >= STRETCH_ROWS or self._size_bytes >= STRETCH_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand over."""
        return not self._rows and not self._rejects

    def decoded(self, convert: Convert) -> Decoded:
        """Convert the rows; those that `convert` finds faulty are rejects."""
        count = len(self._rows)
        if not count:
            return Decoded(pa.table({"position": pa.array([], pa.int64())}), self._rejects)
        columns: dict[str, Column] = {
            name: pa.array(values, pa.string())
            for name, values in zip(self._wanted, zip(*self._rows, strict=True), strict=True)
        }
        faults = Faults(count)
        table = convert(columns, count, faults)
        table = table.append_column("position", pa.array([place[0] for place in self._places], pa.int64()))
        rejects = self._rejects
        for index, reason, field in faults.found():
            position, offset, length = self._places[index]
            rejects.append(Reject(position, reason, field, offset, length, self._kept(index)))
        if faults.mask.any():
            table = table.filter(pa.array(~faults.mask))
            rejects.sort(key=lambda reject: reject.position)
        return Decoded(table, rejects, self.raw_of)

    def raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        """Return what is kept of rows that are refused later."""
        indices = {place[0]: index for index, place in enumerate(self._places)}
        return [self._kept(indices[position]) for position in positions]

    def _kept(self, index: int) -> bytes:
        """Return a line of names and one of values, of the row's wanted columns that are not empty."""
        pairs = [(name, value) for name, value in zip(self._wanted, self._rows[index], strict=True) if value]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*pairs, strict=True))
        return text.getvalue().encode()
