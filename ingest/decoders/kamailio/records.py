"""Columns of Kamailio's and OpenSIPS's `acc` made canonical, whatever road brought them (flatstore, syslog, JSON).

What a row is:

* INVITE with 2xx: a call was answered. OPEN; its time is the answer (`acc` knows no earlier one).
* BYE (any final code but 401 and 407, which challenge it): the call ended. CLOSE. It carries its time only: when the
  called side hangs up, the row's `src_user` is the called party, so the parties are those of the INVITE.
* INVITE with 3xx to 6xx: a failed attempt, complete. MESSAGE: a short message, complete.
* a row of `acc_cdrs`: a complete call.
* a CDR of OpenSIPS (`call ended`): a complete call. Its end is not written: it is the answer and the duration in ms, or
  the one in whole seconds, which is rounded up.
* anything else (ACK, CANCEL, REGISTER, 1xx …) is `unsupported`: it is no communication of its own.

Identity (`record_key`):

* failed attempts and messages: `METHOD CODE FROM_TAG TO_TAG CALL-ID`, so a row of `missed_calls` is the row of `acc`
  again;
* an answered call, by INVITE and BYE or by `acc_cdrs`: `call CALL-ID`. The call that is folded from INVITE and BYE and
  the row of `acc_cdrs` are one record to the store: whichever comes second is a duplicate, or a conflict when their
  seconds differ (the two modules read the clock one after the other). A conflict is never billed, so no call is billed
  twice.
  `identity=dialog` puts both tags in (`call TAG TAG CALL-ID`), for platforms that use one Call-ID for several
  answered calls; then `acc_cdrs` needs `from_tag` and `to_tag` in `cdr_extra`;
* a failed call in `acc_cdrs` (`cdr_on_failed`): `failed CALL-ID START`. The row has neither code nor tags, so it cannot
  be matched with its `acc` row exactly; `failed_cdrs=refuse` turns it away where `acc` is delivered too.

The two tags stand sorted in `session_key` and under `identity=dialog`: a BYE from the called side has them the other
way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Event
from ingest.decoders.slices import Column, Faults, Flags, compute, empty_to_null, fill
from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason

OPTIONS: Final = ("cdr_start", "identity", "failed_cdrs")

_CHOICES: Final = {
    "cdr_start": ("created", "confirmed", "setup"),
    "identity": ("call-id", "dialog"),
    "failed_cdrs": ("store", "refuse"),
}

# What a column may be called: Kamailio's own names first, then names that are common in log_extra and cdr_extra.
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "method": ("method",),
    "from_tag": ("from_tag",),
    "to_tag": ("to_tag",),
    "callid": ("callid", "call_id"),
    "code": ("sip_code", "code"),
    "seconds": ("time_sec", "timestamp", "time"),
    "microseconds": ("time_usec",),
    "start_time": ("start_time",),
    "end_time": ("end_time",),
    "duration": ("duration",),
    "setup_time": ("setup_time",),
    # OpenSIPS
    "created": ("created",),
    "answered": ("call_start_time", "time_sec", "timestamp", "time"),
    "ms_duration": ("ms_duration",),
}

SHARED: Final[dict[str, tuple[str, ...]]] = {
    "calling_number": ("src_user", "caller", "from_user"),
    "called_number": ("dst_user", "callee", "to_user"),
    "dialled_number": ("dst_ouser", "dialled"),
    "source_ip": ("src_ip",),
    "destination_ip": ("dst_ip",),
    "user_agent": ("user_agent",),
    "trunk_in": ("trunk_in",),
    "trunk_out": ("trunk_out", "trunk"),
    "account": ("account",),
    "tenant": ("tenant",),
}

SHARED_NAMES: Final = tuple(SHARED)
"""Parties, addresses and trunks, as they are delivered."""

_OF_TRANSACTIONS: Final = ("method", "from_tag", "to_tag", "callid", "code", "seconds", "microseconds")
TRANSACTION_NAMES: Final = (*(NAMES[name] for name in _OF_TRANSACTIONS), *SHARED.values())
"""What the values of a transaction may be called, in the order of `ingest.decoders.kamailio.walk_kernels`."""

COLUMN_NAMES: Final = tuple(dict.fromkeys(name for names in (*NAMES.values(), *SHARED.values()) for name in names))
"""Every column that is read; others are passed over."""

_DISPOSITIONS: Final = {
    "408": "no-answer",
    "480": "no-answer",
    "486": "busy",
    "487": "cancelled",
    "600": "busy",
}


class Settings(NamedTuple):
    """The options of both formats; the first of each list in `_CHOICES` is the default."""

    cdr_start: str
    identity: str
    failed_cdrs: str
    service_type: str


def settings(source: SourceConfig) -> Settings:
    """Return the options of a source.

    Raises:
        ConfigurationError: an option has a value that it does not know.
    """
    chosen = {}
    for name, values in _CHOICES.items():
        chosen[name] = source.options.get(name, values[0])
        if chosen[name] not in values:
            raise ConfigurationError(f"option {name} must be one of {', '.join(values)}")
    return Settings(**chosen, service_type=source.service_type or "voip")


def transactions(columns: Mapping[str, Column], rows: int, chosen: Settings) -> tuple[pa.Table, Faults]:
    """Return the rows of `acc` or `missed_calls` as delivered columns (all rows), and which of them are refused."""
    faults = Faults(rows)
    method, code = _column(columns, "method", rows), _column(columns, "code", rows)
    tag_one, tag_two = _column(columns, "from_tag", rows), _column(columns, "to_tag", rows)
    callid = empty_to_null(_column(columns, "callid", rows))
    faults.add(~_matches(method, r"^[A-Z]{3,16}$"), RejectReason.BAD_FIELD, "method")
    faults.add(~_matches(code, r"^[1-6][0-9][0-9]$"), RejectReason.BAD_FIELD, "sip_code")
    faults.add(callid.is_null(), RejectReason.MISSING_FIELD, "callid")
    time = _transaction_time(columns, rows, faults)

    invite, bye = _equals(method, "INVITE"), _equals(method, "BYE")
    message = _equals(method, "MESSAGE")
    first = compute.utf8_slice_codeunits(code, 0, 1)
    challenged = _equals(code, "401") | _equals(code, "407")
    unsupported = ~(invite | bye | message) | _equals(first, "1") | (bye & challenged)
    faults.add(unsupported, RejectReason.UNSUPPORTED)

    success = _equals(first, "2")
    opens = invite & success
    failed = (invite | message) & ~success
    event = np.where(opens, Event.OPEN.value, np.where(bye, Event.CLOSE.value, Event.RECORD.value))
    tags = _sorted_tags(tag_one, tag_two)
    key = compute.binary_join_element_wise(method, code, tag_one, tag_two, callid, " ")
    zero = fill(pa.nulls(rows, pa.int64()), pa.scalar(0, pa.int64()), failed)
    parties = _shared(columns, rows)
    parties = {name: fill(column, None, bye) for name, column in parties.items()}
    table = {
        "event": pa.array(event.tolist(), pa.string()),
        "session_key": fill(compute.binary_join_element_wise(callid, *tags, " "), None, ~(opens | bye)),
        "record_key": fill(key, _call_key(callid, tags, chosen), opens | bye),
        "service_type": fill(_constant(chosen.service_type, rows), "sms", message),
        **parties,
        "start_time": fill(time, None, bye),
        "answer_time": fill(time, None, ~opens),
        "end_time": fill(time, None, opens),
        "duration_ms": zero,
        "billable_duration_ms": zero,
        "disposition": _dispositions(code, success, message),
        "cause": fill(code, None, bye),
        "call_link": callid,
    }
    return pa.table(table), faults


def cdrs(columns: Mapping[str, Column], rows: int, chosen: Settings) -> tuple[pa.Table, Faults]:
    """Return the rows of `acc_cdrs` as delivered columns (all rows), and which of them are refused."""
    faults = Faults(rows)
    callid = empty_to_null(_column(columns, "callid", rows))
    faults.add(callid.is_null(), RejectReason.MISSING_FIELD, "callid")
    start, bad_start = epoch_us(_column(columns, "start_time", rows))
    faults.add(bad_start, RejectReason.BAD_TIME, "start_time")
    end, bad_end = epoch_us(_column(columns, "end_time", rows))
    faults.add(bad_end, RejectReason.BAD_TIME, "end_time")
    duration, bad_duration = _milliseconds(_column(columns, "duration", rows))
    faults.add(bad_duration, RejectReason.BAD_FIELD, "duration")
    faults.add(compute.less(end, start), RejectReason.BAD_TIME, "end_time")

    failed = _flags(compute.and_(compute.equal(start, end), compute.equal(duration, 0)))
    if chosen.failed_cdrs == "refuse":
        faults.add(failed, RejectReason.UNSUPPORTED)
    tags = _sorted_tags(_column(columns, "from_tag", rows), _column(columns, "to_tag", rows))
    if chosen.identity == "dialog":
        lacking = _equals(tags[0], "") & ~failed
        faults.add(lacking, RejectReason.MISSING_FIELD, "from_tag")
    second = compute.cast(compute.divide(start, 1_000_000), pa.string())
    failed_key = compute.binary_join_element_wise(_constant("failed", rows), callid, second, " ")
    begun, answered = start, pa.nulls(rows, pa.int64())
    if chosen.cdr_start != "created":
        answered = fill(start, None, failed)
    if chosen.cdr_start == "setup":
        setup, bad_setup = epoch_us(_column(columns, "setup_time", rows))
        faults.add(bad_setup, RejectReason.BAD_TIME, "setup_time")
        begun = compute.min_element_wise(setup, start)
    table = {
        "event": _constant(Event.RECORD.value, rows),
        "session_key": pa.nulls(rows, pa.string()),
        "record_key": fill(_call_key(callid, tags, chosen), failed_key, failed),
        "service_type": _constant(chosen.service_type, rows),
        **_shared(columns, rows),
        "start_time": _time(begun),
        "answer_time": _time(answered),
        "end_time": _time(end),
        "duration_ms": duration,
        "billable_duration_ms": duration,
        "disposition": fill(_constant("answered", rows), "failed", failed),
        "cause": pa.nulls(rows, pa.string()),
        "call_link": callid,
    }
    return pa.table(table), faults


def ended_calls(columns: Mapping[str, Column], rows: int, chosen: Settings) -> tuple[pa.Table, Faults]:
    """Return OpenSIPS's CDRs as delivered columns (all rows), and which of them are refused."""
    faults = Faults(rows)
    callid = empty_to_null(_column(columns, "callid", rows))
    faults.add(callid.is_null(), RejectReason.MISSING_FIELD, "call_id")
    method, code = _column(columns, "method", rows), _column(columns, "code", rows)
    faults.add(~_equals(method, "INVITE"), RejectReason.UNSUPPORTED)
    faults.add(~_matches(code, r"^[1-6][0-9][0-9]$"), RejectReason.BAD_FIELD, "code")
    answer, bad_answer = epoch_us(_column(columns, "answered", rows))
    faults.add(bad_answer, RejectReason.BAD_TIME, "call_start_time")
    created_text = _column(columns, "created", rows)
    created, bad_created = epoch_us(created_text)
    absent = _equals(created_text, "") | _equals(created_text, "0")
    faults.add(bad_created & ~absent, RejectReason.BAD_TIME, "created")
    start = fill(created, answer, absent)
    faults.add(compute.less(answer, start), RejectReason.BAD_TIME, "call_start_time")
    duration = _duration_ms(columns, rows, faults)
    tags = _sorted_tags(_column(columns, "from_tag", rows), _column(columns, "to_tag", rows))
    end = compute.add(answer, compute.multiply(duration, 1000))
    table = {
        "event": _constant(Event.RECORD.value, rows),
        "session_key": pa.nulls(rows, pa.string()),
        "record_key": _call_key(callid, tags, chosen),
        "service_type": _constant(chosen.service_type, rows),
        **_shared(columns, rows),
        "start_time": _time(start),
        "answer_time": _time(answer),
        "end_time": _time(end),
        "duration_ms": compute.divide(compute.subtract(end, start), 1000),
        "billable_duration_ms": duration,
        "disposition": _constant("answered", rows),
        "cause": code,
        "call_link": callid,
    }
    return pa.table(table), faults


def succeeded(columns: Mapping[str, Column], rows: int) -> Flags:
    """Return which rows are an INVITE with a 2xx."""
    return _equals(_column(columns, "method", rows), "INVITE") & _matches(
        _column(columns, "code", rows), r"^2[0-9]{2}$"
    )


def _duration_ms(columns: Mapping[str, Column], rows: int, faults: Faults) -> Column:
    """Return OpenSIPS's duration: in ms where it is written, else in seconds, which are rounded up."""
    fine = _column(columns, "ms_duration", rows)
    written = ~_equals(fine, "")
    exact = _matches(fine, r"^[0-9]{1,12}$")
    faults.add(written & ~exact, RejectReason.BAD_FIELD, "ms_duration")
    seconds, bad = _milliseconds(_column(columns, "duration", rows))
    faults.add(~written & bad, RejectReason.BAD_FIELD, "duration")
    return fill(seconds, pa.array(_numbers(fine, exact).astype(np.int64)), exact)


def epoch_us(texts: Column) -> tuple[Column, Flags]:
    """Return µs since 1970 of seconds with or without a fraction, and which texts are not that."""
    good = _matches(texts, r"^[0-9]{1,11}(\.[0-9]{1,9})?$")
    # A double holds such a time within 0.25 µs, so rounding gives the microsecond that was written.
    seconds = _numbers(texts, good) * 1e6
    return pa.array(np.rint(seconds).astype(np.int64), mask=~good), ~good


def _milliseconds(texts: Column) -> tuple[Column, Flags]:
    """Return ms of seconds with or without a fraction, and which texts are not that."""
    good = _matches(texts, r"^[0-9]{1,9}(\.[0-9]{1,9})?$")
    return pa.array(np.rint(_numbers(texts, good) * 1e3).astype(np.int64), mask=~good), ~good


def _numbers(texts: Column, good: Flags) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    filled = fill(texts, "0", ~good)
    return np.asarray(compute.cast(filled, pa.float64()))


def _transaction_time(columns: Mapping[str, Column], rows: int, faults: Faults) -> Column:
    """Return the time of a transaction: seconds, and µs where `time_mode` writes them in a column of their own."""
    seconds, bad = epoch_us(_column(columns, "seconds", rows))
    faults.add(bad, RejectReason.BAD_TIME, "time")
    extra = _column(columns, "microseconds", rows)
    given = ~_equals(extra, "")
    good = _matches(extra, r"^[0-9]{1,6}$")
    faults.add(given & ~good, RejectReason.BAD_TIME, "time_usec")
    micros = pa.array(_numbers(extra, good).astype(np.int64))
    whole = compute.multiply(compute.divide(seconds, 1_000_000), 1_000_000)
    return _time(compute.add(fill(seconds, whole, good), micros))


def _column(columns: Mapping[str, Column], name: str, rows: int) -> Column:
    """Return the column under the first of its names that has a text, row by row; "" where none has."""
    given = _first(columns, NAMES[name])
    return _constant("", rows) if given is None else compute.fill_null(given, "")


def _first(columns: Mapping[str, Column], names: tuple[str, ...]) -> Column:
    """Return the first non-empty text of the named columns in each row, null where there is none; None without any."""
    given = [empty_to_null(columns[name]) for name in names if name in columns]
    return None if not given else given[0] if len(given) == 1 else compute.coalesce(*given)


def _shared(columns: Mapping[str, Column], rows: int) -> dict[str, Column]:
    """Return parties, addresses and trunks: null for empty texts; no dialled number where it is the called one."""
    shared = {}
    for name, aliases in SHARED.items():
        given = _first(columns, aliases)
        shared[name] = pa.nulls(rows, pa.string()) if given is None else given
    same = compute.fill_null(compute.equal(shared["dialled_number"], shared["called_number"]), False)
    shared["dialled_number"] = fill(shared["dialled_number"], None, same)
    return shared


def _call_key(callid: Column, tags: tuple[Column, Column], chosen: Settings) -> Column:
    label = _constant("call", len(callid))
    if chosen.identity == "dialog":
        return compute.binary_join_element_wise(label, *tags, callid, " ")
    return compute.binary_join_element_wise(label, callid, " ")


def _sorted_tags(one: Column, two: Column) -> tuple[Column, Column]:
    return compute.min_element_wise(one, two), compute.max_element_wise(one, two)


def _dispositions(code: Column, success: Flags, message: Flags) -> Column:
    encoded = code.dictionary_encode()
    words = pa.array([_DISPOSITIONS.get(one, "failed") for one in encoded.dictionary.to_pylist()], pa.string())
    failed = words.take(encoded.indices)
    return fill(fill(failed, "answered", success), "sent", success & message)


def _time(microseconds: Column) -> Column:
    return compute.cast(microseconds, TIME_TYPE)


def _constant(text: str, rows: int) -> Column:
    return pa.repeat(text, rows)


def _equals(column: Column, text: str) -> Flags:
    return _flags(compute.equal(column, text))


def _matches(column: Column, pattern: str) -> Flags:
    return _flags(compute.match_substring_regex(column, pattern))


def _flags(column: Column) -> Flags:
    return np.asarray(compute.fill_null(column, False))
