"""Plain rows of Asterisk call records made records, a column at a time.

Only rows in which nothing is in doubt: both ends, a party, a uniqueid and a sequence are there, every time has its form
and occurs once. All others are left to `asterisk_rows.Rows`, which is the twin of this for every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.asterisk_rows import COLUMNS, DISPOSITIONS, KINDS, Rows
from ingest.decoders.slices import Column, compute, empty_to_null
from ingest.times import LocalTimes
from schemas.buffers import Ints, Mask, map_unique

_SYSTEM: Final = r"^(?:(?P<system>.+)-)?[0-9]{9,11}\.[0-9]+$"
_SERIAL: Final = r"-[0-9a-f]+(;[12])?$"
_FIGURE: Final = r"^[0-9]{1,9}$"


def plain_records(columns: Mapping[str, Column], positions: Ints, rows: Rows) -> tuple[pa.Table, Mask]:
    """Return the records of the rows that are understood, and which rows those are; `columns` are those of `USED`."""
    count = len(positions)
    start, end, answer = (rows.zone.convert_column(empty_to_null(columns[name])) for name in ("start", "end", "answer"))
    understood = ~(_doubtful(start) | _doubtful(end) | _doubtful(answer))
    understood &= np.asarray(start.times.is_valid()) & np.asarray(end.times.is_valid())
    duration, billsec = _milliseconds(columns["duration"], understood), _milliseconds(columns["billsec"], understood)
    for name in ("uniqueid", "sequence", "src"):
        understood &= np.asarray(compute.not_equal(columns[name], ""))
    ends_late = compute.greater_equal(end.times, start.times)
    understood &= np.asarray(compute.fill_null(ends_late, False))
    parts = compute.extract_regex(columns["uniqueid"], _SYSTEM)
    understood &= np.asarray(parts.is_valid())  # by it the columns of a row were told, where their number is 17 or 20
    found = compute.struct_field(parts, "system")
    word = columns["disposition"]
    made = {
        "position": pa.array(positions),
        "switch": compute.fill_null(empty_to_null(found), rows.element),
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
    figure = compute.match_substring_regex(column, _FIGURE)
    understood &= np.asarray(compute.or_(figure, compute.equal(column, "")))
    seconds = compute.cast(compute.if_else(figure, column, pa.scalar(None, pa.string())), pa.int64())
    return compute.multiply(seconds, 1000)


def _disposition(word: str) -> str | None:
    return DISPOSITIONS.get(word.upper())


def _trunk(channel: Column) -> Column:
    """Do as `asterisk_rows.trunk_of`: without their serials, channels are few."""
    local = compute.starts_with(channel, "Local/")
    peer = map_unique(compute.replace_substring_regex(channel, _SERIAL, ""), _peer, pa.string())
    return compute.if_else(local, pa.scalar("Local"), peer)


def _peer(text: str) -> str | None:
    return "/".join(text.split("/", 2)[:2]) or None
