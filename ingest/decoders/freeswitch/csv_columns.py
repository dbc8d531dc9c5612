"""Plain rows of FreeSWITCH's mod_cdr_csv made legs, a column at a time.

Only rows in which nothing is in doubt: a uuid, times that have their form and occur once, an end or a duration. All
others are left to `freeswitch_csv`, which is the twin of this for every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.freeswitch.json_cdr import DISPOSITIONS, address_of, profile_name
from ingest.decoders.row_stretch import Columns
from ingest.decoders.slices import Column, compute, empty_to_null, figures, fill
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
    columns: Mapping[str, Column], positions: Ints, zone: ZoneTimes, names: tuple[str, str], *, starts: bool
) -> tuple[pa.Table, Mask]:
    """Return the legs of the rows that are understood, and which rows those are.

    Args:
        columns: those of `PLAIN`, empty texts for what the template does not write.
        positions: of the rows.
        zone: of the switch.
        names: switch and service type.
        starts: whether the template writes a start.
    """
    rows = len(positions)
    get = {name: empty_to_null(column) for name, column in columns.items()}
    start, end, answer, understood = _times(get, zone, starts=starts)
    key = compute.ascii_lower(columns["uuid"])
    understood &= np.asarray(compute.match_substring_regex(key, f"^{UUID}$"))
    # With a uuid there, a row of template `opencdrrate` is one of `default`.
    understood &= ~np.asarray(compute.equal(compute.binary_length(columns["network_addr"]), _UUID_BYTES))
    (duration, bad), (billable, strange) = figures(columns["duration"], 9), figures(columns["billsec"], 9)
    understood &= ~bad & ~strange
    duration, billable = compute.multiply(duration, 1000), compute.multiply(billable, 1000)
    inferred = end.is_null()
    ends = compute.coalesce(end, compute.add(start.times.view(pa.int64()), compute.multiply(duration, 1000)))
    understood &= np.asarray(compute.fill_null(compute.greater_equal(ends, start.times.view(pa.int64())), False))
    cause, gateway = get["hangup_cause"], get["sip_gateway_name"]
    outbound = compute.equal(columns["direction"], "outbound")
    lost = map_unique(cause, _unanswered, pa.string())
    made = {
        "position": pa.array(positions),
        "switch": pa.repeat(names[0], rows),
        "record_key": key,
        "service_type": pa.repeat(names[1], rows),
        "calling_number": compute.coalesce(get["caller_id_number"], get["ani"]),
        "called_number": get["destination_number"],
        "start_time": start.times,
        "answer_time": answer.view(TIME_TYPE),
        "end_time": ends.view(TIME_TYPE),
        "end_inferred": inferred,
        "utc_offset_s": start.offsets_s,
        "time_ambiguous": pa.repeat(False, rows),
        "duration_ms": duration,
        "billable_duration_ms": billable,
        "source_ip": map_unique(get["network_addr"], address_of, pa.string()),
        "user_agent": get["sip_user_agent"],
        "disposition": compute.if_else(compute.is_valid(answer), pa.scalar("answered"), lost),
        "cause": cause,
        "trunk_in": compute.coalesce(_profile(get["channel_name"]), fill(gateway, None, outbound)),
        "trunk_out": compute.coalesce(_profile(get["bridge_channel"]), fill(gateway, None, compute.invert(outbound))),
        "call_link": key,
        "account": get["accountcode"],
    }
    table = pa.table({name: made[name].cast(kind) for name, kind in zip(LEGS.names, LEGS.types, strict=True)})
    return (table if understood.all() else table.filter(pa.array(understood))), understood


def _times(get: Mapping[str, Column], zone: ZoneTimes, *, starts: bool) -> tuple[LocalTimes, Column, Column, Mask]:
    """Return the start, µs of end and answer, and which rows have times that are understood."""
    start, answer, end = (zone.convert_column(get[f"{word}_stamp"]) for word in ("start", "answer", "end"))
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


def _doubtful(times: LocalTimes) -> Mask:
    doubtful: Mask = times.bad | np.asarray(compute.fill_null(times.ambiguous, False))
    return doubtful


def _unanswered(cause: str) -> str:
    return DISPOSITIONS.get(cause, "failed")


def _profile(channel: Column) -> Column:
    return map_unique(channel, profile_name, pa.string())
