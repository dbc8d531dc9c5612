"""Records that were found in many parts, restored in one pass: one part by itself costs as much as hundreds of rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store import parquet
from store.encoding.joined_layouts import joined, likeness
from store.encoding.restoring import Layout
from store.model import PartRow, ScanQuery
from store.part_reader import Kept
from store.reading.cuts import Cut, decoded
from store.reading.selection import as_numpy, deciding, other_mask


@dataclass(frozen=True, slots=True)
class Taken:
    """Records of a query's targets as the files of one part keep them."""

    part: PartRow
    gone: Collection[str]
    """Categories of service whose records are over, though the partition is not."""
    kept: Sequence[Kept]
    names: Sequence[str]
    """Columns of the record, in their order."""
    rows: int

    def likeness(self, query: ScanQuery) -> Any:
        """Return what is equal for records that can be restored together, and are selected by the same rule."""
        files: list[Any] = []
        for item in self.kept:
            if item.layout is None:
                return id(self)
            own = item.layout.own
            plain = [(name, *kind_of(column)) for name, column in item.columns.items() if name not in own]
            if any(pa.types.is_dictionary(kind) for _, kind, _ in plain):
                return id(self)
            files.append((likeness(item.layout), tuple(item.names), tuple(plain)))
        return tuple(files), tuple(self.names), deciding(query, self.part, self.gone), self.part.batch_id is None


def restored(items: Sequence[Taken], query: ScanQuery, wanted: Sequence[str]) -> list[pa.RecordBatch]:
    """Return the selected records of each of some items that are alike, as packed columns."""
    sizes = [item.rows for item in items]
    rows = sum(sizes)
    columns: dict[str, Any] = {}
    for files in zip(*(item.kept for item in items), strict=True):
        table = whole(files).restored()
        columns |= zip(table.column_names, table.columns, strict=True)
    first = items[0]
    table = pa.table({name: columns[name] for name in first.names})
    batch_ids = None if first.part.batch_id is None else np.repeat([item.part.batch_id for item in items], sizes)
    last = other_mask(table, query, first.part, first.gone)
    ends = np.cumsum(sizes)
    if last is not None and not (chosen := as_numpy(last)).all():
        table, rows = table.filter(pa.array(chosen)), int(chosen.sum())
        batch_ids = None if batch_ids is None else batch_ids[chosen]
        ends = np.cumsum(chosen)[ends - 1]
    batches = as_batches(table, batch_ids, wanted, rows)
    if not batches:
        return [pa.RecordBatch.from_pylist([])] * len(items)
    starts = [0, *ends[:-1].tolist()]
    return [batches[0].slice(start, end - start) for start, end in zip(starts, ends.tolist(), strict=True)]


def whole(files: Sequence[Kept]) -> Kept:
    """Return rows of several files as if they were of one."""
    if len(files) == 1:
        return files[0]
    layouts: list[Layout] = [item.layout for item in files if item.layout is not None]
    first, sizes = files[0], [item.rows for item in files]
    own = first.layout.own if first.layout is not None else frozenset()
    layout = joined(layouts, sizes, [item.columns for item in files], concatenated)
    columns = {name: concatenated([item.columns[name] for item in files]) for name in first.columns if name not in own}
    return Kept(layout, columns, first.names, sum(sizes))


def concatenated(columns: Sequence[Any]) -> Any:
    """Return columns of one type as one array, whether they are decoded or not."""
    return decoded(columns) if isinstance(columns[0], Cut) else pa.concat_arrays(_chunks(columns))


def kind_of(column: Any) -> tuple[Any, bool]:
    """Return the type of a column of a file, and whether its pages are still encoded."""
    return (column.kind, True) if isinstance(column, Cut) else (column.type, False)


def _chunks(columns: Sequence[Any]) -> list[Any]:
    return [
        chunk for column in columns for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]


def as_batches(
    table: pa.Table, batch_ids: npt.NDArray[np.int64] | None, wanted: Sequence[str], rows: int
) -> list[pa.RecordBatch]:
    """Return records as packed columns, in one batch; none where there is no record."""
    if not rows:
        return []
    if "batch_id" in wanted and batch_ids is not None:
        table = table.append_column("batch_id", pa.array(batch_ids))
    if not table.num_columns:  # the part has none of the columns: rows of nulls
        table = pa.table({"batch_id": pa.nulls(rows, pa.int64())})
    return parquet.conform(table, list(wanted)).combine_chunks().to_batches()
