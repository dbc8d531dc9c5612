"""Circuit-switched calls and short messages of TS 32.298 as canonical records.

* `called_number` is the translated number where the switch translated, else the number as called, which then is
  `dialled_number` where it differs. A connected number that differs is `forwarded_number`.
* Where the served subscriber is the called one (MTCall, MTSMS), IMSI and IMEI are the called side's.
* A call ends at `releaseTime`, else `callDuration` after the answer, else after the seizure (`end_inferred`).
* `callDuration` is the chargeable duration of an answered call and the holding time of an attempt.

Source: 3GPP TS 32.250 §6.1 (calls and messages), TS 32.298 §5.2.2 and §5.2.3.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.ber import values as ber_values
from ingest.decoders.ber.identifiers import alike, first_told, packed
from ingest.decoders.ber.values import Numbers, Times
from ingest.decoders.ber.walk import Span
from ingest.decoders.threegpp import text as threegpp_text
from ingest.decoders.threegpp.columns import Columns, Key, first_of, later
from schemas.buffers import Column, pc

UNSUCCESSFUL: Final = 3
"""CauseForTerm of a call attempt that was not answered. Source: TS 32.298 §5.1.2.1."""

_TERMINATED: Final = 5 * 10**9  # added to an MTCall's reference: both records of a call may have the same
_SECONDS: Final = 10**8

_DISPOSITIONS: Final = ("answered", "failed", "busy", "no-answer", "cancelled", "sent", "received")
_ANSWERED, _FAILED, _BUSY, _NO_ANSWER, _CANCELLED, _SENT, _RECEIVED = range(7)

# Cause values of TS 24.008 §10.5.4.11 and Q.850 that say how an attempt ended.
_BY_CAUSE: Final = {"17": _BUSY, "18": _NO_ANSWER, "19": _NO_ANSWER, "16": _CANCELLED}


def calls(work: Columns) -> None:
    """Make the columns of calls."""
    work.service("voice")
    seizure, answer = work.times("seizure", "start_time"), work.times("answer", "answer_time")
    release, duration = work.times("release", "end_time"), work.seconds("duration", "duration_ms")
    start = first_of(seizure, answer)
    if not start.present.all():
        start = first_of(start, release)
    end = first_of(release, later(answer, duration), later(start, duration), start)
    work.span_of_time(start, end, ~release.present, answer)
    work.keep("duration_ms", duration.column(pa.int64(), 1000))
    disposition = _disposition(work, answer)
    billable = np.where(disposition == _ANSWERED, duration.values, 0) * 1000
    work.keep("billable_duration_ms", pa.array(billable, mask=~duration.present | (disposition != _ANSWERED)))
    work.words("disposition", disposition, _DISPOSITIONS)
    work.keep("cause", work.labels("cause", "cause", threegpp_text.integer))
    _call_parties(work)
    _equipment(work)
    work.keep("cell_id", work.labels("cell", "cell_id", threegpp_text.cell))
    work.keep("trunk_in", work.labels("trunk_in", "trunk_in", threegpp_text.trunk))
    work.keep("trunk_out", work.labels("trunk_out", "trunk_out", threegpp_text.trunk))
    work.keep("switch", work.labels("switch", "switch", threegpp_text.number))
    sequence = work.sequence("sequence")
    work.keep("call_link", work.hexadecimal("network_reference", "call_link"))
    work.made["record_key"] = _call_keys(work, start, sequence)


def _call_keys(work: Columns, start: Times, sequence: Numbers) -> Column:
    """Return keys of call reference, start and sequence number.

    Whole MOCalls and MTCalls with a reference of up to four octets, which are almost all, get 18 digits: the store
    packs them, and they cost half of a text. 8 of them are the end of the start in s, and come again after three years.
    """
    reference = work.fields["reference"]
    short = reference.present & (reference.lengths > 0) & (reference.lengths <= 4) & ~sequence.present & start.present
    if work.kind.choice > 1:
        short[:] = False
    calls = ber_values.integers(work.data, Span(np.where(short, reference.starts, -1), reference.lengths))
    numbers = (calls.values + work.kind.choice * _TERMINATED) * _SECONDS + start.values_us // 1_000_000 % _SECONDS
    if short.all():
        return pa.array(packed(numbers))
    digits = pa.array(np.where(short, numbers, 0), mask=~short).cast(pa.string())
    key = Key(work.rows, work.kind.letters)
    key.octets(work.data, reference)
    key.time(start)
    key.number(sequence.values, sequence.present)
    return pc.coalesce(digits, key.column())


def _call_parties(work: Columns) -> None:
    served = work.fields["msisdn"].present
    calling, called = work.telephone("calling", "calling_number"), work.telephone("called", "called_number")
    translated = work.telephone("translated", "called_number")
    if work.kind.called:
        called = work.telephone("msisdn", "called_number")
    elif served.any():
        lacking = served & ~work.fields["calling"].present
        if lacking.any():
            own = work.telephone("msisdn", "calling_number", lacking)
            calling = calling._replace(number=first_told(calling.number, own.number))
    work.party("calling_number", calling)
    if translated.number.null_count < work.rows:
        known = translated.number.is_valid()
        work.keep("called_number", first_told(translated.number, called.number))
        work.keep("called_number_delivered", pc.if_else(known, translated.delivered, called.delivered))
        work.keep("dialled_number", _where_other(called.number, translated.number))
    else:
        work.party("called_number", called)
    connected = work.telephone("connected", "forwarded_number")
    if connected.number.null_count < work.rows:
        reached = work.made.get("called_number", pa.nulls(work.rows, pa.string()))
        other = _where_other(connected.number, reached)
        dialled = work.made.get("dialled_number", reached)
        work.keep("forwarded_number", _where_other(other, dialled))


def _where_other(number: Column, than: Column) -> Column:
    """Return numbers where they differ from others that are there."""
    number, than = alike(number, than)
    other = pc.fill_null(pc.not_equal(number, than), pc.is_valid(than))
    return pc.if_else(other, number, pa.scalar(None, number.type))


def _equipment(work: Columns) -> None:
    side = "called_" if work.kind.called else ""
    work.keep(side + "imsi", work.digits("imsi", side + "imsi"))
    work.keep(side + "imei", work.digits("imei", side + "imei"))


def _disposition(work: Columns, answer: Times) -> Column:
    """Return indices of `_DISPOSITIONS`. Source: TS 32.298 §5.1.2.1 (CauseForTerm, Diagnostics)."""
    cause = work.integers("cause", "cause")
    answered = answer.present | (cause.present & (cause.values != UNSUCCESSFUL))
    codes = np.where(answered, _ANSWERED, _FAILED)
    codes[~answer.present & ~cause.present] = -1
    if work.fields["diagnostics"].present.any():
        told = work.labels("diagnostics", "cause", threegpp_text.diagnostics)
        meaning = np.array([_BY_CAUSE.get(word, _FAILED) for word in told.dictionary.to_pylist()] + [_FAILED], np.int64)
        indices = np.asarray(pc.fill_null(told.indices, -1), np.int64)
        codes = np.where(codes == _FAILED, meaning[indices], codes)
    return codes


def messages(work: Columns) -> None:
    """Make the columns of short messages; a message begins and ends at its one time."""
    work.service("sms")
    time = work.times("time", "start_time")
    work.span_of_time(time, time, np.zeros(work.rows, np.bool_))
    served = work.telephone("msisdn", "called_number" if work.kind.called else "calling_number")
    if work.kind.called:
        work.party("called_number", served)
        work.party("calling_number", work.telephone("originator", "calling_number"))
    else:
        work.party("calling_number", served)
        work.party("called_number", work.telephone("destination", "called_number"))
    _equipment(work)
    result = work.fields["result"].present
    work.words("disposition", np.where(result, _FAILED, _RECEIVED if work.kind.called else _SENT), _DISPOSITIONS)
    work.keep("cause", work.labels("result", "cause", threegpp_text.diagnostics))
    work.keep("trunk_out", work.labels("centre", "trunk_out", threegpp_text.number))
    _message_place(work)
    key = Key(work.rows, work.kind.letters)
    key.octets(work.data, work.fields["imsi"])
    key.time(time)
    if "reference" in work.fields.spans:
        key.literal(".")
        key.octets(work.data, work.fields["reference"])
    local = work.integers("local_sequence", "record_key")
    key.number(local.values, local.present)
    if work.kind.called and not local.present.all():
        key.literal(".")
        key.octets(work.data, work.fields["centre"])
    work.made["record_key"] = key.column()


def _message_place(work: Columns) -> None:
    node = work.labels("node", "switch", threegpp_text.address)
    own = work.labels("switch", "switch", threegpp_text.number)
    work.keep(
        "switch", pc.coalesce(own.cast(pa.string()), node.cast(pa.string())) if node.null_count < work.rows else own
    )
    place = work.labels("cell", "cell_id", threegpp_text.cell)
    if "location" in work.fields.spans or "cell_only" in work.fields.spans:
        place = bearer_place(work, "cell_only")
    work.keep("cell_id", place)


def bearer_place(work: Columns, cell: str) -> Column:
    """Return the cell of a packet-switched record: the user location, else location area and cell."""
    told = work.labels("location", "cell_id", threegpp_text.user_location).cast(pa.string())
    area, small = work.integers("area", "cell_id"), work.integers(cell, "cell_id")
    if not small.present.any():
        return told
    pair = pc.binary_join_element_wise(
        area.column(pa.int64()).cast(pa.string()), small.column(pa.int64()).cast(pa.string()), "-"
    )
    return pc.coalesce(told, pair)
