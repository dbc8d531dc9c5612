"""Plain rows of Asterisk call records made records, a column at a time.

Only rows in which nothing is in doubt: both ends and a party are there, every time has its form and occurs once. All
others are left to `asterisk_rows.Rows`, which is the twin of this for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.asterisk.rows import (
    COLUMNS,
    DISPOSITIONS,
    ROW_DIGEST,
    USED,
    Occurrences,
    Rows,
    key_of,
    row_digest,
)
from ingest.decoders.plain_columns import PlainColumns
from ingest.decoders.row_stretch import Columns
from ingest.decoders.slices import Column, compute, fill, gather
from ingest.times import LocalTimes
from schemas.buffers import Ints, Mask, flat, map_unique, text_views
from store import native

PLAIN: Final = tuple(name for name in USED if name != "clid")
"""Columns that are read here: the caller's name and number stand in for a party that is not there."""

RECORDS: Final = Columns(COLUMNS)

_KERNELS: Final = "ingest.decoders.line_kernels"


def plain_records(
    columns: PlainColumns,
    positions: Ints,
    rows: Rows,
    lines_of: Callable[[Ints], Iterable[bytes]],
) -> tuple[pa.Table, Mask]:
    """Return the records of the rows that are understood, and which rows those are; `numbered` completes their keys.

    Args:
        columns: those of `PLAIN`.
        positions: of the rows.
        rows: what the source settles.
        lines_of: returns the lines of rows.
    """
    count = len(positions)
    start, end, answer = (columns.times(name, rows.zone) for name in ("start", "end", "answer"))
    understood = ~(_doubtful(start) | _doubtful(end) | _doubtful(answer))
    understood &= np.asarray(start.times.is_valid()) & np.asarray(end.times.is_valid())
    duration, billsec = _milliseconds(columns, "duration", understood), _milliseconds(columns, "billsec", understood)
    understood &= ~columns.figures("sequence", 18)[1]
    calling = columns.identifiers("src")
    understood &= np.logical_or.reduce([np.asarray(column.is_valid()) for column in calling.values()])
    ends_late = compute.greater_equal(end.times, start.times)
    understood &= np.asarray(compute.fill_null(ends_late, False))
    system = _system(columns, understood)
    key = _keys(columns, understood, lines_of)
    word = columns.labels("disposition")
    has_cause = columns.has("hangupcause")
    made = {
        "position": pa.array(positions),
        "switch": compute.fill_null(system, rows.element),
        "record_key": key,
        "service_type": pa.repeat(rows.service, count),
        **_named("calling_number", calling),
        **_named("called_number", columns.identifiers("dst")),
        "start_time": start.times,
        "answer_time": answer.times,
        "end_time": end.times,
        "end_inferred": pa.repeat(False, count),
        "utc_offset_s": start.offsets_s,
        "time_ambiguous": pa.repeat(False, count),
        "duration_ms": duration,
        "billable_duration_ms": billsec,
        "disposition": map_unique(word, _disposition, pa.string()),
        "cause": compute.coalesce(columns.given("hangupcause"), word.cast(pa.string())) if has_cause else word,
        "trunk_in": _trunk(columns["channel"]),
        "trunk_out": _trunk(columns["dstchannel"]),
        "call_link": compute.coalesce(columns.given("linkedid"), columns.given("uniqueid")),
        **_named("account", columns.identifiers("accountcode")),
    }
    table = pa.table(made)
    return (table if understood.all() else table.filter(pa.array(understood))), understood


def numbered(table: pa.Table, occurrences: Occurrences) -> pa.Table:
    """Return records in which keys that are digests of rows are numbered, in the order of the delivery."""
    keys = flat(table.column("record_key"))
    nameless = compute.match_substring_regex(keys, f"^{ROW_DIGEST}$")
    if not compute.any(nameless).as_py():
        return table
    digests: Any = keys.filter(nameless).to_pylist()
    made = pa.array(occurrences.number(digests), pa.string())
    place = table.column_names.index("record_key")
    return table.set_column(place, "record_key", compute.replace_with_mask(keys, nameless, made))


def _doubtful(times: LocalTimes) -> Mask:
    doubtful: Mask = times.bad | np.asarray(compute.fill_null(times.ambiguous, False))
    return doubtful


def _named(field: str, found: Mapping[str, Column]) -> dict[str, Column]:
    """Return columns of identifiers under the name of their field."""
    return {field + ("_text" if name.endswith("_text") else ""): column for name, column in found.items()}


def _milliseconds(columns: PlainColumns, name: str, understood: Mask) -> Column:
    """Return whole seconds in ms, null where there are none; rows with anything else are not understood."""
    seconds, bad = columns.figures(name, 9)
    understood &= ~bad
    return compute.multiply(seconds, 1000)


def _disposition(word: str) -> str | None:
    return DISPOSITIONS.get(word.upper())


def _trunk(channel: Column) -> Column:
    """Do as `asterisk_rows.trunk_of`."""
    offsets, data = text_views(channel)
    ends = np.empty(len(channel), np.int64)
    native.load(_KERNELS).peers(data, offsets, ends)
    peer = gather(data, np.where(ends == offsets[:-1], -1, offsets[:-1]), ends)
    local = compute.starts_with(channel, "Local/")
    return fill(peer, "Local", local) if compute.any(local).as_py() else peer


def _system(columns: Mapping[str, Column], understood: Mask) -> Column:
    """Return the system names of uniqueids, null where they have none.

    What is no uniqueid is not understood: it may be another column, where a row's number of them leaves that open. Nor
    is a row without one whose linkedid stands in for it.
    """
    uniqueid = columns["uniqueid"]
    offsets, data = text_views(uniqueid)
    ends = np.empty(len(uniqueid), np.int64)
    native.load(_KERNELS).systems(data, offsets, ends)
    empty = offsets[1:] == offsets[:-1]
    understood &= np.where(empty, np.asarray(compute.equal(columns["linkedid"], "")), ends >= 0)
    return gather(data, np.where(ends > offsets[:-1], offsets[:-1], -1), ends)


def _keys(
    columns: Mapping[str, Column],
    understood: Mask,
    lines_of: Callable[[Ints], Iterable[bytes]],
) -> Column:
    """Return the keys of the rows that are understood: of uniqueid and sequence, else of a digest."""
    keys = compute.binary_join_element_wise(columns["uniqueid"], columns["sequence"], "/")
    named = np.asarray(compute.not_equal(columns["uniqueid"], ""))
    short = understood & named & np.asarray(compute.equal(columns["sequence"], ""))
    if short.any():
        of = (
            columns[name].filter(pa.array(short)).to_pylist() for name in ("uniqueid", "channel", "dstchannel", "start")
        )
        made = [key_of(uniqueid, "", "", tuple(rest)) for uniqueid, *rest in zip(*of, strict=True)]
        keys = compute.replace_with_mask(keys, pa.array(short), pa.array(made, pa.string()))
    nameless = understood & ~named
    if nameless.any():
        made = list(map(row_digest, lines_of(np.flatnonzero(nameless))))
        keys = compute.replace_with_mask(keys, pa.array(nameless), pa.array(made, pa.string()))
    return keys
