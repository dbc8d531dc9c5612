"""Plain rows of Asterisk call records made records, a column at a time.

Only rows in which nothing is in doubt: both ends, a party, a uniqueid and a sequence are there, every time has its form
and occurs once. All others are left to `asterisk_rows.Rows`, which is the twin of this for every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.asterisk_rows import COLUMNS, DISPOSITIONS, KINDS, USED, Rows
from ingest.decoders.slices import Column, compute, empty_to_null, figures, fill, gather
from ingest.times import LocalTimes
from schemas.buffers import Ints, Mask, map_unique, text_views
from store import native

PLAIN: Final = tuple(name for name in USED if name != "clid")
"""Columns that are read here: the caller's name and number stand in for a party that is not there."""

_KERNELS: Final = "ingest.decoders.line_kernels"


def plain_records(columns: Mapping[str, Column], positions: Ints, rows: Rows) -> tuple[pa.Table, Mask]:
    """Return the records of the rows that are understood, and which rows those are; `columns` are those of `PLAIN`."""
    count = len(positions)
    start, end, answer = (rows.zone.convert_column(empty_to_null(columns[name])) for name in ("start", "end", "answer"))
    understood = ~(_doubtful(start) | _doubtful(end) | _doubtful(answer))
    understood &= np.asarray(start.times.is_valid()) & np.asarray(end.times.is_valid())
    duration, billsec = _milliseconds(columns["duration"], understood), _milliseconds(columns["billsec"], understood)
    for name in ("uniqueid", "sequence", "src"):
        understood &= np.asarray(compute.not_equal(columns[name], ""))
    ends_late = compute.greater_equal(end.times, start.times)
    understood &= np.asarray(compute.fill_null(ends_late, False))
    # What is no uniqueid may be another column: where a row has 17 or 20 of them, its form decides.
    system = _system(columns["uniqueid"], understood)
    word = columns["disposition"]
    made = {
        "position": pa.array(positions),
        "switch": compute.fill_null(system, rows.element),
        "record_key": compute.binary_join_element_wise(columns["uniqueid"], columns["sequence"], "/"),
        "service_type": pa.repeat(rows.service, count),
        "calling_number": columns["src"],
        "called_number": empty_to_null(columns["dst"]),
        "start_time": start.times,
        "answer_time": answer.times,
        "end_time": end.times,
        "end_inferred": pa.repeat(False, count),
        "utc_offset_s": start.offsets_s,
        "time_ambiguous": pa.repeat(False, count),
        "duration_ms": duration,
        "billable_duration_ms": billsec,
        "disposition": map_unique(word, _disposition, pa.string()),
        "cause": compute.coalesce(empty_to_null(columns["hangupcause"]), empty_to_null(word)),
        "trunk_in": _trunk(columns["channel"]),
        "trunk_out": _trunk(columns["dstchannel"]),
        "call_link": compute.coalesce(empty_to_null(columns["linkedid"]), columns["uniqueid"]),
        "account": empty_to_null(columns["accountcode"]),
    }
    arrays = [made[name].cast(kind) for name, kind in zip(COLUMNS, KINDS, strict=True)]
    table = pa.Table.from_arrays(arrays, names=list(COLUMNS))
    return (table if understood.all() else table.filter(pa.array(understood))), understood


def _doubtful(times: LocalTimes) -> Mask:
    doubtful: Mask = times.bad | np.asarray(compute.fill_null(times.ambiguous, False))
    return doubtful


def _milliseconds(column: Column, understood: Mask) -> Column:
    """Return whole seconds in ms, null where there are none; rows with anything else are not understood."""
    seconds, bad = figures(column, 9)
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


def _system(uniqueid: Column, understood: Mask) -> Column:
    """Return the system names of uniqueids, null where they have none; what is no uniqueid is not understood."""
    offsets, data = text_views(uniqueid)
    ends = np.empty(len(uniqueid), np.int64)
    native.load(_KERNELS).systems(data, offsets, ends)
    understood &= ends >= 0
    return gather(data, np.where(ends > offsets[:-1], offsets[:-1], -1), ends)
