"""One open part: the only road from a part's file to its records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from types import TracebackType
from typing import Any

import pyarrow as pa

from schemas.arrow import PACKED
from store import parquet
from store.binding import FileBinding
from store.columns import Layout
from store.figure_batch import FigureBatch

Bounds = tuple[int, int]
"""Lowest and highest value; times in µs."""


class PartReader:
    """The records of one part by row groups; it holds the file's key as long as it is open."""

    def __init__(self, path: Any, binding: FileBinding, partition_key: bytes) -> None:
        """Open the file and authenticate its footer.

        Raises:
            IntegrityError: it is missing, is not the file that the catalog means, or does not authenticate.
        """
        self._binding = binding
        self._file = parquet.open_file(path, binding, partition_key)
        self._layout = Layout.parse(self._file.metadata.metadata)
        names = self._file.schema_arrow.names if self._layout is None else self._layout.names
        self.names: frozenset[str] = frozenset(names)
        """Columns that the part has."""

    def __enter__(self) -> PartReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def groups(self) -> int:
        """How many row groups the part has."""
        return int(self._file.metadata.num_row_groups)

    @property
    def file_columns(self) -> int:
        """How many columns the file has; many of the record's lie in one."""
        return int(self._file.metadata.num_columns)

    def group_rows(self, group: int) -> int:
        """Return the number of records of a row group."""
        return int(self._file.metadata.row_group(group).num_rows)

    @property
    def group_size(self) -> int:
        """Rows of every row group but the last: row i lies in group i // group_size."""
        return self.group_rows(0) if self._layout is None else self._layout.group_rows

    def bounds(self, column: str) -> list[Bounds | None]:
        """Return (lowest, highest) of a column of figures or times for each row group; None where it is not known."""
        if self._layout is not None:
            both = self._layout.bounds(column)
            if both is None:
                return [None] * self.groups
            return [(low, high) if low <= high else None for low, high in zip(*(x.tolist() for x in both), strict=True)]
        kind = PACKED.field(column).type
        times = pa.types.is_timestamp(kind)
        return [
            None if item is None else (_us(item[0]), _us(item[1])) if times else (int(item[0]), int(item[1]))
            for item in parquet.group_bounds(self._file, column)
        ]

    def read(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return records of some row groups (all when None) in their stored order; absent columns are left out.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        chosen = list(range(self.groups)) if groups is None else list(groups)
        if self._layout is None:
            names = None if columns is None else [name for name in columns if name in self.names]
            return parquet.read_groups(self._file, chosen, names, self._binding)
        wanted = [name for name in (self._layout.names if columns is None else columns) if name in self.names]
        return self._layout.restore(*self._stored(self._layout, chosen, wanted))

    def figures(self, groups: Sequence[int], columns: Sequence[str]) -> FigureBatch:
        """Return what `read` returns, as figures.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        wanted = [name for name in columns if name in self.names]
        if self._layout is None:
            rows = sum(self.group_rows(group) for group in groups)
            return FigureBatch.of(self.read(groups, wanted)) if wanted else FigureBatch(rows)
        return self._layout.figures(*self._stored(self._layout, list(groups), wanted))

    def pages(self, groups: Sequence[int]) -> Pages:
        """Return some row groups, to be read column by column."""
        return Pages(self._file, self._layout, self._binding, groups)

    def constant(self, name: str) -> int | None:
        """Return the value that every row of a column has; None where it is not known without reading."""
        return None if self._layout is None else self._layout.constant(name)

    def _stored(self, layout: Layout, groups: list[int], wanted: list[str]) -> tuple[pa.Table, list[str], int]:
        rows = sum(self.group_rows(group) for group in groups)
        stored = layout.stored(wanted)
        table = parquet.read_groups(self._file, groups, stored, self._binding) if stored else pa.table({})
        return table, wanted, rows


class Pages:
    """Row groups of one part whose columns are read as they are asked for.

    Many columns lie in one column of the file: what was read for the first that was asked for is not read again.
    """

    def __init__(self, file: Any, layout: Layout | None, binding: FileBinding, groups: Sequence[int]) -> None:
        self._file, self._layout, self._binding = file, layout, binding
        self._groups = list(groups)
        self._sizes = [int(file.metadata.row_group(group).num_rows) for group in groups]
        self._stored: dict[str, pa.ChunkedArray[Any]] = {}

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns that the part has, its records in their stored order.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        needed = list(names) if self._layout is None else self._layout.stored(names)
        missing = [name for name in needed if name not in self._stored]
        if missing:
            table = parquet.read_groups(self._file, self._groups, missing, self._binding)
            self._stored.update(zip(table.column_names, table.columns, strict=True))
        table = pa.table({name: self._stored[name] for name in needed})
        return table if self._layout is None else self._layout.restore(table, names, sum(self._sizes))

    def of(self, places: Sequence[int]) -> Pages:
        """Return some of these row groups, by their places here."""
        starts = [0, *accumulate(self._sizes)]
        some = Pages(self._file, self._layout, self._binding, [self._groups[at] for at in places])
        for name, column in self._stored.items():
            parts = [part for at in places for part in column.slice(starts[at], self._sizes[at]).chunks]
            some._stored[name] = pa.chunked_array(parts, column.type)
        return some


def _us(moment: Any) -> int:
    return int(pa.scalar(moment, PACKED.field("start_time").type).cast(pa.int64()).as_py())
