"""Plain rows of FreeSWITCH's mod_cdr_csv made legs, a column at a time.

Only rows in which nothing is in doubt: a uuid, times that have their form and occur once, an end or a duration. All
others are left to `freeswitch_csv`, which is the twin of this for every row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.freeswitch.json_cdr import DISPOSITIONS, address_of, profile_name
from ingest.decoders.plain_columns import PlainColumns
from ingest.decoders.row_stretch import Columns
from ingest.decoders.slices import Column, compute, fill
from ingest.times import LocalTimes, ZoneTimes
from schemas.arrow import TIME_TYPE
from schemas.buffers import Ints, Mask, map_unique

UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_UUID_BYTES: Final = len("0f6a1b2c-0001-4d00-9c00-46aa00000001")
NEVER_US: Final = 86_400_000_000
"""An answer on the first day of 1970 is FreeSWITCH's "never" in local time."""

PLAIN: Final = (
    "caller_id_number", "ani", "destination_number", "start_stamp", "answer_stamp", "end_stamp", "duration", "billsec",
    "hangup_cause", "uuid", "accountcode", "channel_name", "bridge_channel", "direction", "network_addr",
    "sip_user_agent", "sip_gateway_name",
)  # fmt: skip
"""Columns that are read here."""

LEGS: Final = Columns(
    (
        "position", "switch", "record_key", "service_type", "calling_number", "called_number", "start_time",
        "answer_time", "end_time", "end_inferred", "utc_offset_s", "time_ambiguous", "duration_ms",
        "billable_duration_ms", "source_ip", "user_agent", "disposition", "cause", "trunk_in", "trunk_out", "call_link",
        "account",
    )
)  # fmt: skip


def plain_legs(
    columns: PlainColumns, positions: Ints, zone: ZoneTimes, names: tuple[str | None, str], *, starts: bool
) -> tuple[pa.Table, Mask]:
    """Return the legs of the rows that are understood, numbers packed and labels encoded; and which rows those are.

    Args:
        columns: those of `PLAIN`.
        positions: of the rows.
        zone: of the switch.
        names: switch and service type.
        starts: whether the template writes a start.
    """
    rows = len(positions)
    start, end, answer, understood = _times(columns, zone, starts=starts)
    key, is_uuid = columns.uuids("uuid", UUID)
    understood &= is_uuid
    if columns.has("network_addr"):  # with a uuid there, a row of template `opencdrrate` is one of `default`
        understood &= ~np.asarray(compute.equal(compute.binary_length(columns["network_addr"]), _UUID_BYTES))
    (duration, bad), (billable, strange) = columns.figures("duration", 9), columns.figures("billsec", 9)
    understood &= ~bad & ~strange
    duration, billable = compute.multiply(duration, 1000), compute.multiply(billable, 1000)
    begun = start.times.view(pa.int64())
    ends = compute.coalesce(end, compute.add(begun, compute.multiply(duration, 1000)))
    understood &= np.asarray(compute.fill_null(compute.greater_equal(ends, begun), False))
    cause = columns.labels("hangup_cause")
    made = {
        "position": pa.array(positions),
        "switch": _constant(names[0], rows),
        "record_key": key,
        "service_type": _constant(names[1], rows),
        **_party(columns, "calling_number", "caller_id_number", "ani"),
        **_party(columns, "called_number", "destination_number"),
        "start_time": start.times,
        "answer_time": answer.view(TIME_TYPE),
        "end_time": ends.view(TIME_TYPE),
        "end_inferred": end.is_null(),
        "utc_offset_s": start.offsets_s,
        "time_ambiguous": pa.repeat(False, rows),
        "duration_ms": duration,
        "billable_duration_ms": billable,
        "source_ip": _addresses(columns),
        "user_agent": columns.labels("sip_user_agent"),
        "disposition": _dispositions(cause, np.asarray(answer.is_valid())),
        "cause": cause,
        "trunk_in": _trunk(columns, "channel_name", outbound=False),
        "trunk_out": _trunk(columns, "bridge_channel", outbound=True),
        "call_link": key,
        **_party(columns, "account", "accountcode"),
    }
    table = pa.table(made)
    return (table if understood.all() else table.filter(pa.array(understood))), understood


def _times(columns: PlainColumns, zone: ZoneTimes, *, starts: bool) -> tuple[LocalTimes, Column, Column, Mask]:
    """Return the start, µs of end and answer, and which rows have times that are understood."""
    start, answer, end = (columns.times(f"{word}_stamp", zone) for word in ("start", "answer", "end"))
    understood = ~(_doubtful(start) | _doubtful(answer) | _doubtful(end))
    answered = answer.times.view(pa.int64())
    answered = fill(answered, None, compute.less(answered, NEVER_US))
    if not starts:
        told = compute.is_valid(answered)
        start = LocalTimes(
            compute.if_else(told, answer.times, end.times),
            compute.if_else(told, answer.offsets_s, end.offsets_s),
            start.ambiguous,
            start.bad,
        )
    understood &= np.asarray(compute.is_valid(start.times))
    return start, end.times.view(pa.int64()), answered, understood


def _party(columns: PlainColumns, field: str, *names: str) -> dict[str, Column]:
    """Return a field of identifiers: the first of some columns that has a text."""
    there = [name for name in names if columns.has(name)]
    if len(there) > 1:
        return {field: compute.coalesce(*map(columns.given, there))}
    found = columns.identifiers(there[0] if there else names[0])
    return {field + ("_text" if name.endswith("_text") else ""): column for name, column in found.items()}


def _dispositions(cause: Column, answered: Mask) -> Column:
    """Return what became of legs: answered, or what their cause says."""
    words = ["answered"]
    table = np.empty(len(cause.dictionary) + 1, np.int32)
    for code, word in enumerate(map(_unanswered, cause.dictionary.to_pylist())):
        if word not in words:
            words.append(word)
        table[code] = words.index(word)
    codes = np.asarray(cause.indices.fill_null(len(cause.dictionary)))
    absent = (codes == len(cause.dictionary)) & ~answered
    indices: Any = pa.array(np.where(answered, 0, table[codes]).astype(np.int32), mask=absent if absent.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))


def _addresses(columns: PlainColumns) -> Column:
    given = columns.given("network_addr")
    return map_unique(given, address_of, pa.string()) if columns.has("network_addr") else given


def _trunk(columns: PlainColumns, name: str, *, outbound: bool) -> Column:
    """Return the profile of a channel, else the gateway of legs that go out, or of those that do not."""
    profile = map_unique(columns.given(name), profile_name, pa.string()) if columns.has(name) else columns.given(name)
    if not columns.has("sip_gateway_name"):
        return profile
    goes = compute.equal(columns["direction"], "outbound")
    others = compute.invert(goes) if outbound else goes
    return compute.coalesce(profile, fill(columns.given("sip_gateway_name"), None, others))


def _constant(text: str | None, rows: int) -> Column:
    if text is None:
        return pa.nulls(rows, pa.string())
    indices: Any = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text]))


def _doubtful(times: LocalTimes) -> Mask:
    doubtful: Mask = times.bad | np.asarray(compute.fill_null(times.ambiguous, False))
    return doubtful


def _unanswered(cause: str) -> str:
    return DISPOSITIONS.get(cause, "failed")
