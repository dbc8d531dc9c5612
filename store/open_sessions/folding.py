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

_DURATIONS: Final = (("duration_ms", "start_time"), ("billable_duration_ms", "answer_time"))

Ints = npt.NDArray[np.int64]


def fold(table: pa.Table, sessions: Ints, ranks: Ints) -> tuple[pa.Table, Ints]:
    """Fold rows of equal session number; return one row a session, and the numbers of these sessions.

    `ranks` orders what a session's rows say; among equal ranks the later row counts. Sessions come in the order of
    the first row of each, the rows taken in the order of their ranks.
    """
    if not len(ranks):
        return table.slice(0, 0), np.zeros(0, np.int64)
    order = np.argsort(ranks, kind="stable")
    numbers, first, number_of = np.unique(sessions[order], return_index=True, return_inverse=True)
    group_of = np.empty(len(numbers), np.int64)
    by_first = np.argsort(first)
    group_of[by_first] = np.arange(len(numbers))
    groups = group_of[number_of]
    by_group = np.argsort(groups, kind="stable")
    rows = order[by_group]
    starts = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    last = rows[np.append(starts[1:], len(rows)) - 1]
    whole = [name for name in table.column_names if not table.column(name).null_count]
    folded = table.select(whole).take(last)
    columns: dict[str, Column] = dict(zip(whole, folded.columns, strict=True))
    for name in table.column_names:
        if name not in columns:
            columns[name] = _last_valid(table.column(name), rows, starts)
    return pa.table({name: columns[name] for name in table.column_names}), numbers[by_first]


def _last_valid(column: Column, rows: Ints, starts: Ints) -> Column:
    """Return of each group of rows the last value that is none null."""
    if column.null_count == len(column):
        return pa.nulls(len(starts), column.type)
    valid = np.asarray(column.is_valid())[rows]
    last = np.maximum.reduceat(np.where(valid, np.arange(len(rows)), -1), starts)
    return column.take(pa.array(rows[last], mask=last < 0))


def uses(sessions: Ints, kinds: Ints, starts: Ints, ends: Ints) -> list[Ints]:
    """Return the rows to fold, and those to fold after them, where sessions begin anew after their end.

    By row: session, rank of the event, its start and end in µs (least number: none). A session begins anew with an
    opening that is later than an end that was told before it.
    """
    closes, opens = kinds == RANK["close"], kinds == RANK["open"]
    if not (closes.any() and opens.any()):
        return [np.arange(len(kinds))]
    order = np.argsort(sessions, kind="stable")
    first = np.searchsorted(sessions[order], sessions[order])
    ended = np.where(closes, ends, np.iinfo(np.int64).min)[order]
    begun = np.where(opens, starts, np.iinfo(np.int64).min)[order]
    # The latest end so far of each session: numbers of sessions lift each above the one before it.
    ranked = np.unique(np.concatenate([ended, begun]), return_inverse=True)[1]
    ended, begun = ranked[: len(order)], ranked[len(order) :]
    lift = first * (len(ranked) + 1)
    before = np.maximum.accumulate(ended + lift) - lift
    before = np.where(np.arange(len(order)) > first, np.append(0, before[:-1]), 0)
    anew = (begun > before) & (before > 0)
    if not anew.any():
        return [np.arange(len(kinds))]
    count = np.cumsum(closes[order])
    closed = count - (count[first] - closes[order][first])
    turn = np.empty(len(order), np.int64)
    turn[order] = np.maximum.accumulate(np.where(anew, closed, 0) + lift) - lift
    return [np.flatnonzero(turn == number) for number in np.unique(turn)]


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


def with_column(table: pa.Table, name: str, column: Column) -> pa.Table:
    """Return the table with one column set."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _integers(rows: pa.Table, name: str) -> Column:
    return rows.column(name).cast(pa.int64()) if name in rows.column_names else pa.nulls(len(rows), pa.int64())
