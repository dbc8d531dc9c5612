"""Columns of Cisco CUCM records made canonical.

Identity: `record_key` is `pkid`, a UUID that the publisher gives each row; `switch` is the cluster. A file that is sent
again after a failed transfer brings the same rows.

Calls (CDR):

* Every attempt has a row, each leg of a transfer or conference one more. `dateTimeConnect` 0 is a call that nobody
  answered, `dateTimeDisconnect` 0 one whose end is not known: then it is computed, and marked as inferred.
* `duration` counts from the answer: it is the billable duration. The other is end less start.
* The called party is the final one. Where the original one differs, that was dialled. After a redirection
  (`lastRedirectDn`) the forwarded-to party is the one that redirected last if it is a third, else the final one.
* The cause is that of the side that ended the call: the origin's, unless it is 0.
* A device `SEP` or `ATA` and 12 hexadecimal digits is a telephone with that MAC address, kept of the calling side, else
  of the called one. Names of other user devices (CSF, BOT, TCT, TAB and so on) name people; they are dropped. What is
  left are gateways and trunks.
* `origIpAddr` is a signed integer of four bytes in little-endian order; `origIpv4v6Addr` goes before it.

Reports (CMR): CUCM writes one per device and call, of packets, jitter and loss. It is no communication by itself, so
its disposition is `delivery-report`, which is never charged. What the canonical record has room for is stored: the
device's number and MAC address, when its stream ended and began, octets sent and received. `call_link` is the call's.
The figures of quality are not stored.

Source: Cisco Unified CM Call Detail Records Administration Guide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.freeswitch.csv_columns import UUID
from ingest.decoders.plain_columns import PlainColumns, encoded, figures_of
from ingest.decoders.slices import Column, Faults, compute, empty_to_null, figures, fill
from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.buffers import as_text, map_unique
from schemas.rejects import RejectReason

CDR_ORDER: Final = {
    "cdrrecordtype": 0,
    "globalcallid_callmanagerid": 1,
    "globalcallid_callid": 2,
    "datetimeorigination": 4,
    "origipaddr": 7,
    "callingpartynumber": 8,
    "origcause_value": 11,
    "destipaddr": 28,
    "originalcalledpartynumber": 29,
    "finalcalledpartynumber": 30,
    "destcause_value": 33,
    "datetimeconnect": 47,
    "datetimedisconnect": 48,
    "lastredirectdn": 49,
    "pkid": 50,
    "duration": 55,
    "origdevicename": 56,
    "destdevicename": 57,
    "globalcallid_clusterid": 65,
    "clientmattercode": 70,
    "origipv4v6addr": 80,
    "destipv4v6addr": 81,
    "callingpartynumber_uri": 108,
    "finalcalledpartynumber_uri": 110,
}
"""Columns that are read, in small letters, and where each stands in a file without names."""

CMR_ORDER: Final = {
    "cdrrecordtype": 0,
    "globalcallid_callmanagerid": 1,
    "globalcallid_callid": 2,
    "directorynum": 4,
    "datetimestamp": 6,
    "numberoctetssent": 8,
    "numberoctetsreceived": 10,
    "pkid": 14,
    "globalcallid_clusterid": 16,
    "devicename": 17,
    "duration": 19,
}

CDR_WANTED: Final = tuple(CDR_ORDER)
CMR_WANTED: Final = tuple(CMR_ORDER)

STANDARD_WIDTHS: Final = {len(CDR_WANTED): 58, len(CMR_WANTED): 18}
"""Fewer columns than these no release writes; only files without names are asked."""

NEEDED: Final = {
    len(CDR_WANTED): {"pkid", "datetimeorigination"},
    len(CMR_WANTED): {"pkid", "datetimestamp"},
}
"""Columns without which there is no record."""

_KEY: Final = r"^[0-9A-Za-z-]{16,64}$"
_TELEPHONE: Final = re.compile(r"(?:SEP|ATA)([0-9A-F]{12})", re.IGNORECASE)
# Prefixes that CUCM asks of user devices: telephones, adapters, Jabber on desktops, telephones and tablets, and so on.
_PERSONAL: Final = re.compile(r"(?:SEP|ATA|CSF|BOT|TCT|TAB|CTIRD|CTI|UPC|IPC|ECP|RDP|UDP)", re.IGNORECASE)
_DISPOSITIONS: Final = {"16": "cancelled", "17": "busy", "18": "no-answer", "19": "no-answer"}


def calls(columns: Mapping[str, Column], rows: int, faults: Faults, source: SourceConfig) -> pa.Table:
    """Return call detail records as delivered columns (all rows); add to `faults` those that are none."""
    key = _check(columns, faults, "1")
    start = _epoch(columns, "datetimeorigination", faults)
    answer = _epoch(columns, "datetimeconnect", faults)
    end = _epoch(columns, "datetimedisconnect", faults)
    faults.add(start.is_null(), RejectReason.MISSING_FIELD, "dateTimeOrigination")
    billable = _whole(columns, "duration", faults)
    inferred = end.is_null()
    counted = compute.multiply(compute.fill_null(billable, 0), 1_000_000)
    end = compute.coalesce(end, compute.add(compute.coalesce(answer, start), counted))
    faults.add(compute.less(end, start), RejectReason.BAD_TIME, "dateTimeDisconnect")
    cause = _cause(columns, faults)
    answered = compute.invert(answer.is_null())
    words = compute.if_else(answered, pa.scalar("answered"), map_unique(cause, _unanswered, pa.string()))
    return pa.table(
        {
            **_shared(columns, rows, source, key),
            **_caller(columns),
            **_called(columns),
            "start_time": _time(start),
            "answer_time": _time(answer),
            "end_time": _time(end),
            "end_inferred": inferred,
            "billable_duration_ms": compute.multiply(billable, 1000),
            "source_ip": _address(columns, "origipv4v6addr", "origipaddr", faults),
            "destination_ip": _address(columns, "destipv4v6addr", "destipaddr", faults),
            "mac": _either(
                _distinct(columns, "origdevicename", _mac_of), _distinct(columns, "destdevicename", _mac_of)
            ),
            "disposition": words,
            "cause": fill(cause, None, compute.equal(cause, "0")),
            "trunk_in": _distinct(columns, "origdevicename", _trunk_of),
            "trunk_out": _distinct(columns, "destdevicename", _trunk_of),
            "account": empty_to_null(columns["clientmattercode"]),
        }
    )


def _caller(columns: Mapping[str, Column]) -> dict[str, Column]:
    if isinstance(columns, PlainColumns) and not columns.has("callingpartynumber_uri"):
        found = columns.identifiers("callingpartynumber")
        return {name.replace("callingpartynumber", "calling_number"): column for name, column in found.items()}
    return {"calling_number": _first(columns, "callingpartynumber", "callingpartynumber_uri")}


def _called(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return the called party, the one that was dialled where it is another, and the one that forwarded the call."""
    if isinstance(columns, PlainColumns) and not columns.has("finalcalledpartynumber_uri"):
        found, told = columns.identifiers("finalcalledpartynumber"), columns.identifiers("originalcalledpartynumber")
        called, dialled = found["finalcalledpartynumber"], told["originalcalledpartynumber"]
        nobody = not columns.has("lastredirectdn") or columns.given("lastredirectdn").null_count == columns.rows
        if nobody and len(found) == len(told) == 1 and called.type == dialled.type == pa.int64():
            differs = compute.fill_null(compute.not_equal(dialled, called), False)
            return {
                "called_number": called,
                "dialled_number": fill(dialled, None, compute.invert(differs)),
                "forwarded_number": pa.nulls(columns.rows, pa.string()),
            }
    called = _first(columns, "finalcalledpartynumber", "finalcalledpartynumber_uri")
    dialled = empty_to_null(columns["originalcalledpartynumber"])
    redirecting = empty_to_null(columns["lastredirectdn"])
    differs = compute.fill_null(compute.not_equal(dialled, called), False)
    third = compute.and_(
        compute.fill_null(compute.not_equal(redirecting, called), False),
        compute.fill_null(compute.not_equal(redirecting, dialled), False),
    )
    forwarded = compute.if_else(
        third, redirecting, fill(called, None, compute.or_(compute.invert(differs), redirecting.is_null()))
    )
    return {
        "called_number": called,
        "dialled_number": fill(dialled, None, compute.invert(differs)),
        "forwarded_number": forwarded,
    }


def reports(columns: Mapping[str, Column], rows: int, faults: Faults, source: SourceConfig) -> pa.Table:
    """Return call management records as delivered columns (all rows); add to `faults` those that are none."""
    key = _check(columns, faults, "2")
    end = _epoch(columns, "datetimestamp", faults)
    faults.add(end.is_null(), RejectReason.MISSING_FIELD, "dateTimeStamp")
    seconds = compute.fill_null(_whole(columns, "duration", faults), 0)
    return pa.table(
        {
            **_shared(columns, rows, source, key),
            "calling_number": empty_to_null(columns["directorynum"]),
            "start_time": _time(compute.subtract(end, compute.multiply(seconds, 1_000_000))),
            "end_time": _time(end),
            "duration_ms": compute.multiply(seconds, 1000),
            "mac": _distinct(columns, "devicename", _mac_of),
            "volume_up_bytes": _whole(columns, "numberoctetssent", faults),
            "volume_down_bytes": _whole(columns, "numberoctetsreceived", faults),
            "disposition": pa.repeat("delivery-report", rows),
        }
    )


def _check(columns: Mapping[str, Column], faults: Faults, record_type: str) -> Column:
    """Refuse rows without an identity, and records of another type; return the identities, in small letters."""
    number, bad = figures_of(columns, "cdrrecordtype", 3)
    faults.add(bad | np.asarray(number.is_null()), RejectReason.MALFORMED)
    faults.add(compute.not_equal(columns["cdrrecordtype"], record_type), RejectReason.UNSUPPORTED)
    if isinstance(columns, PlainColumns):
        lower, is_uuid = columns.uuids("pkid", UUID)
        if is_uuid.all():
            return lower
    key = columns["pkid"]
    faults.add(compute.equal(key, ""), RejectReason.MISSING_FIELD, "pkid")
    faults.add(compute.invert(compute.match_substring_regex(key, _KEY)), RejectReason.BAD_FIELD, "pkid")
    return compute.ascii_lower(key)


def _shared(columns: Mapping[str, Column], rows: int, source: SourceConfig, key: Column) -> dict[str, Column]:
    manager = empty_to_null(columns["globalcallid_callmanagerid"])
    call = empty_to_null(columns["globalcallid_callid"])
    cluster = compute.fill_null(empty_to_null(columns["globalcallid_clusterid"]), source.element)
    return {
        "switch": cluster,
        "record_key": key,
        "service_type": pa.repeat(source.service_type or "voice", rows),
        "call_link": compute.binary_join_element_wise(cluster, manager, call, "/"),
    }


def _first(columns: Mapping[str, Column], *names: str) -> Column:
    return compute.coalesce(*(empty_to_null(columns[name]) for name in names))


def _whole(columns: Mapping[str, Column], name: str, faults: Faults) -> Column:
    """Return whole numbers, null for an empty text."""
    whole, bad = figures_of(columns, name, 15)
    faults.add(bad, RejectReason.BAD_FIELD, name)
    return whole


def _epoch(columns: Mapping[str, Column], name: str, faults: Faults) -> Column:
    """Return µs since 1970 of epoch seconds; null where there are none, which 0 stands for as well."""
    seconds, bad = figures_of(columns, name, 10)
    faults.add(bad, RejectReason.BAD_TIME, name)
    return compute.multiply(fill(seconds, None, compute.equal(seconds, 0)), 1_000_000)


def _cause(columns: Mapping[str, Column], faults: Faults) -> Column:
    """Return the cause of the side that ended the call; "0" where neither tells one."""
    sides = []
    for name in ("origcause_value", "destcause_value"):
        text = compute.if_else(compute.equal(columns[name], ""), "0", columns[name])
        faults.add(figures(text, 10)[1], RejectReason.BAD_FIELD, name)
        sides.append(text)
    return compute.if_else(compute.equal(sides[0], "0"), sides[1], sides[0])


def _unanswered(cause: str) -> str:
    return _DISPOSITIONS.get(cause, "failed")


def _address(columns: Mapping[str, Column], name: str, packed_name: str, faults: Faults) -> Column:
    address = _distinct(columns, packed_name, _little_endian)
    modern = empty_to_null(columns[name])
    if isinstance(address, pa.DictionaryArray) and modern.null_count == len(modern):
        return address
    address = as_text(address)
    given = compute.invert(compute.is_in(columns[packed_name], pa.array(["", "0"])))
    wrong = compute.and_(given, compute.and_(address.is_null(), modern.is_null()))
    faults.add(wrong, RejectReason.BAD_FIELD, packed_name)
    return compute.coalesce(modern, address)


def _little_endian(text: str) -> str | None:
    """Return the address of a signed integer whose bytes are in little-endian order; None for 0 and what is none."""
    if not re.fullmatch(r"-?[0-9]{1,10}", text):
        return None
    number = int(text)
    if number == 0 or not -(1 << 31) <= number < 1 << 32:
        return None
    return str(IPv4Address((number & 0xFFFFFFFF).to_bytes(4, "little")))


def _distinct(columns: Mapping[str, Column], name: str, function: Callable[[str], str | None]) -> Column:
    """Return what a function makes of each text: a dictionary where it makes something of all; of none, null."""
    texts = encoded(columns, name)
    values = pa.array([function(text) for text in texts.dictionary.to_pylist()], pa.string())
    if texts.null_count or values.null_count:
        return values.take(texts.indices)
    return pa.DictionaryArray.from_arrays(texts.indices, values)


def _either(first: Column, second: Column) -> Column:
    """Return the first of two columns, the second where it is null; a dictionary has none."""
    if isinstance(first, pa.DictionaryArray) or second.null_count == len(second):
        return first
    return compute.coalesce(first, as_text(second))


def _mac_of(name: str) -> str | None:
    found = _TELEPHONE.fullmatch(name)
    return None if found is None else ":".join(re.findall("..", found.group(1)))


def _trunk_of(name: str) -> str | None:
    return None if not name or _PERSONAL.match(name) else name


def _time(microseconds: Column) -> Column:
    return compute.cast(microseconds, TIME_TYPE)
