"""Events of sessions folded into one row each. Pure.

Of each field the value of the closing event counts, else the latest one; the start that an opening told stands.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.buffers import Column
from store.open_sessions.session_rows import OWN

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

_DURATIONS: Final = (("duration_ms", "start_time"), ("billable_duration_ms", "answer_time"))

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def fold(table: pa.Table, rows: Ints, starts: Ints) -> pa.Table:
    """Fold the rows of each session into one: `rows` has them one session after the other, from `starts` on.

    Of a session's rows the later counts more.
    """
    last = rows[np.append(starts[1:], len(rows)) - 1]
    whole = [name for name in table.column_names if not table.column(name).null_count]
    folded = table.select(whole).take(last)
    columns: dict[str, Column] = dict(zip(whole, folded.columns, strict=True))
    alike: dict[bytes, Any] = {}
    for name in table.column_names:
        if name not in columns:
            columns[name] = _last_valid(table.column(name), rows, starts, alike)
    return pa.table({name: columns[name] for name in table.column_names})


def _last_valid(column: Column, rows: Ints, starts: Ints, alike: dict[bytes, Any]) -> Column:
    """Return of each session the last value that is none null; `alike` keeps the rows by where the nulls are."""
    if column.null_count == len(column):
        return pa.nulls(len(starts), column.type)
    valid = np.asarray(column.is_valid())
    pattern = valid.tobytes()
    if pattern not in alike:
        last = np.maximum.reduceat(np.where(valid[rows], np.arange(len(rows)), -1), starts)
        alike[pattern] = pa.array(rows[last], mask=last < 0)
    return column.take(alike[pattern])


def in_order(folded: pa.Table, ended: Flags) -> pa.Table:
    """Return folded sessions without the time that an interim word of another use told: none ends before its start.

    Of those that `ended` the start goes, for the closing event told the end; of others the end.
    """
    if not {"start_time", "end_time"} <= set(folded.column_names):
        return folded
    turned = np.asarray(pc.fill_null(pc.less(folded.column("end_time"), folded.column("start_time")), False))
    for name, of in (("start_time", ended), ("end_time", ~ended)):
        if (turned & of).any():
            times = folded.column(name)
            nothing = pa.scalar(None, times.type)
            folded = with_column(folded, name, pc.if_else(pa.array(turned & of), nothing, times))
    return folded


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


def timed_out(rows: pa.Table, seen_us: Ints) -> pa.Table:
    """Return the records of sessions that never closed, or never opened.

    The missing end is the start and what was counted so far, the missing start the end less the duration. A session
    of which no event said a time ended when it was last heard of (`seen_us`, row for row).
    """
    kind = PACKED.field("start_time").type
    start, end = _integers(rows, "start_time"), _integers(rows, "end_time")
    span_us = pc.multiply(pc.fill_null(_integers(rows, "duration_ms"), 0), 1000)
    inferred = end.is_null()
    end = pc.coalesce(end, pc.add(start, span_us), pa.array(seen_us))
    flags = rows.column("end_inferred") if "end_inferred" in rows.column_names else pa.nulls(len(rows), pa.bool_())
    rows = with_column(rows, "end_inferred", pc.if_else(inferred, pa.scalar(True), flags))
    rows = with_column(rows, "end_time", end.cast(kind))
    rows = with_column(rows, "start_time", pc.coalesce(start, pc.subtract(end, span_us)).cast(kind))
    return completed(rows)


def without_starts(fields: pa.Table, rows: Flags) -> pa.Table:
    """Return events without the starts that some of them tell: that of their opening counts."""
    if not rows.any():
        return fields
    starts: Any = fields.column("start_time")
    return with_column(fields, "start_time", pc.if_else(pa.array(rows), pa.scalar(None, starts.type), starts))


def joined(old: pa.Table, fields: pa.Table) -> Any:
    """Return what was folded before and what came since as one table of one chunk."""
    old = old.drop_columns([name for name in (*OWN, "batch_position") if name in old.column_names])
    if old.num_rows:
        fields = pa.concat_tables([typed(old, fields), fields], promote_options="default")
    return fields.unify_dictionaries().combine_chunks()


def typed(old: pa.Table, fields: pa.Table) -> pa.Table:
    """Return what was folded before with the types of other columns."""
    for name in old.column_names:
        kind = fields.schema.field(name).type if name in fields.column_names else PACKED.field(name).type
        old = with_column(old, name, old.column(name).cast(kind))
    return old


def with_column(table: pa.Table, name: str, column: Column) -> pa.Table:
    """Return the table with one column set."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _integers(rows: pa.Table, name: str) -> Column:
    return rows.column(name).cast(pa.int64()) if name in rows.column_names else pa.nulls(len(rows), pa.int64())
