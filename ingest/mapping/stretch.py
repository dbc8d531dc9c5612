"""What every layout hands over: the columns that the mapping reads, as texts, and the records that have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple, Protocol

import numpy as np
import orjson
import pyarrow as pa

from ingest.mapping.model import Layout
from schemas.buffers import Column, Ints, pc
from schemas.rejects import Reject, RejectReason

KEPT_MARK: Final = "@mapping"
"""First key of a record as it is kept; so a kept record is told from a delivery."""

KEPT_HEAD: Final = b'{"' + KEPT_MARK.encode() + b'":1,"columns":{'


class Stretch(NamedTuple):
    """Records of a delivery: `columns` of the good ones, all of the length of `positions`; and the others' rejects."""

    columns: dict[str, Column]
    positions: Ints
    rejects: list[Reject]


class LayoutReader(Protocol):
    """Cuts a delivery into records and columns.

    `is_headed`, once read, tells whether it had the lines around its records that the mapping asks for: names, or a
    header or trailer of their number.
    """

    is_headed: bool

    def read(self, stream: BinaryIO) -> Iterator[Stretch]:
        """Yield the records in order.

        Raises:
            InputError: the delivery as a whole has not the layout.
        """
        ...


class Kept:
    """What is kept of refused records: the columns that the mapping reads, as one line of JSON.

    Other columns are not kept: what nobody reads may be content.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch

    def __call__(self, positions: Sequence[int]) -> Sequence[bytes | None]:
        """Return the kept records at these positions."""
        rows = np.searchsorted(self._stretch.positions, np.array(positions, np.int64))
        indices = pa.array(rows)
        names = list(self._stretch.columns)
        values = [self._stretch.columns[name].take(indices).to_pylist() for name in names]
        records = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)] if names else []
        return [orjson.dumps({KEPT_MARK: 1, "columns": record}) for record in records]


def settled(column: Column, layout: Layout) -> Column:
    """Return a column of texts, trimmed where the layout says so, with null for what means nothing."""
    if layout.trim:
        column = pc.utf8_trim_whitespace(column)
    nothing = pc.is_in(column, pa.array(sorted(layout.nulls), pa.string()))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), column)


class Rows:
    """Collects records one by one."""

    def __init__(self, names: Sequence[str], layout: Layout) -> None:
        self._names, self._layout = names, layout
        self._values: list[list[str | None]] = [[] for _ in names]
        self._positions: list[int] = []
        self._rejects: list[Reject] = []

    def __len__(self) -> int:
        return len(self._positions) + len(self._rejects)

    def add(self, position: int, values: Sequence[str | None]) -> None:
        """Take a record."""
        self._positions.append(position)
        for column, value in zip(self._values, values, strict=True):
            column.append(value)

    def refuse(self, position: int, reason: RejectReason, offset: int | None, length: int | None) -> None:
        """Take a record that has no columns; nothing of it is kept, since it cannot be told what in it is content."""
        self._rejects.append(Reject(position, reason, None, offset, length))

    def take(self) -> Stretch:
        """Return what was collected since the last call."""
        columns = {
            name: settled(pa.array(values, pa.string()), self._layout)
            for name, values in zip(self._names, self._values, strict=True)
        }
        stretch = Stretch(columns, np.array(self._positions, np.int64), self._rejects)
        self._values = [[] for _ in self._names]
        self._positions, self._rejects = [], []
        return stretch
