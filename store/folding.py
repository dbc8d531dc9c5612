"""Events of sessions folded into one row each. Pure.

Of each field the value of the closing event counts, else of the opening one, else of the latest interim one; a later
interim value replaces an earlier one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.buffers import Column

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

RANK: Final[dict[str, int]] = {"update": 0, "open": 1, "close": 2}
"""Whose word counts more."""

SESSION: Final = "session"
_DURATIONS: Final = (("duration_ms", "start_time"), ("billable_duration_ms", "answer_time"))


def fold(table: pa.Table, sessions: npt.NDArray[np.int64], ranks: npt.NDArray[np.int64]) -> pa.Table:
    """Fold rows of equal session number; return one row a session, with a column `session` of its number.

    `ranks` orders what a session's rows say; among equal ranks the later row counts.
    """
    order = np.lexsort((np.arange(len(ranks)), ranks))
    names = table.column_names
    plain = [_plain(column) for column in table.columns]
    grouped = pa.table([*plain, pa.array(sessions)], names=[*names, SESSION]).take(order)
    folded = grouped.group_by(SESSION, use_threads=False).aggregate([(name, "last") for name in names])
    columns = [folded.column(f"{name}_last") for name in names]
    columns = [column.cast(table.schema.field(name).type) for column, name in zip(columns, names, strict=True)]
    return pa.table([*columns, folded.column(SESSION)], names=[*names, SESSION])


def completed(table: pa.Table) -> pa.Table:
    """Fill in what the ends of a folded session tell: durations where no event said them."""
    ends = table.column("end_time").cast(pa.int64())
    for name, since in _DURATIONS:
        if since not in table.column_names:
            continue
        spans = pc.divide(pc.subtract(ends, table.column(since).cast(pa.int64())), 1000)
        spans = pc.if_else(pc.less(spans, 0), pa.scalar(None, pa.int64()), spans)
        filled = pc.coalesce(table.column(name), spans) if name in table.column_names else spans
        table = with_column(table, name, filled)
    return table


def timed_out(row: pa.Table, seen_us: int) -> pa.Table:
    """Return the record of a session that never closed, or never opened.

    The missing end is the start and what was counted so far, the missing start the end less the duration. A session
    of which no event said a time ended when it was last heard of (`seen_us`).
    """
    kind = PACKED.field("start_time").type
    start, end = _value(row, "start_time"), _value(row, "end_time")
    span_us = (_value(row, "duration_ms") or 0) * 1000
    if end is None:
        end = seen_us if start is None else start + span_us
        row = with_column(row, "end_time", pa.array([end], pa.int64()).cast(kind))
        row = with_column(row, "end_inferred", pa.array([True]))
    if start is None:
        row = with_column(row, "start_time", pa.array([end - span_us], pa.int64()).cast(kind))
    return completed(row)


def with_column(table: pa.Table, name: str, column: Column) -> pa.Table:
    """Return the table with one column set."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _value(row: pa.Table, name: str) -> Any:
    if name not in row.column_names:
        return None
    column: Column = row.column(name)
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)[0].as_py()


def _plain(column: Column) -> Column:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
