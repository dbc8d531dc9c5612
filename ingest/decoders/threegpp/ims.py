"""IMS sessions and 5G charging records of TS 32.298 as canonical records.

* A party is its `tel:` URI or E.164 number where the list has one, else its SIP URI, else what there is.
* An IMS session starts at the request, is answered at the delivery's start, and ends at the delivery's end or at the
  closure of the record. `call_link` is the IMS charging identifier, which all legs share.
* A charging record with SMS information is a message; every other one a data session.

Source: 3GPP TS 32.260 §6.1 (IMS), TS 32.255 §6.1 and TS 32.274 §6.1 (5G), TS 32.298 §5.2.4.1 and §5.2.5.2.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.ber.identifiers import first_told, in_digits
from ingest.decoders.ber.values import Times
from ingest.decoders.threegpp import text as threegpp_text
from ingest.decoders.threegpp.columns import Columns, Key, Telephone, first_of, later
from ingest.decoders.threegpp.data import addresses, usage_volumes
from schemas.buffers import Column, Mask, pc

_DISPOSITIONS: Final = ("answered", "failed", "busy", "no-answer", "cancelled", "sent", "closed")
_ANSWERED, _FAILED, _BUSY, _NO_ANSWER, _CANCELLED, _SENT, _CLOSED = range(7)
_BY_CODE: Final = {"486": _BUSY, "600": _BUSY, "408": _NO_ANSWER, "480": _NO_ANSWER, "487": _CANCELLED}
_IMSI_TYPE, _E164_TYPE = 1, 0
_NAME_PREFIX: Final = r"^(?:imsi-|msisdn-|tel:)"


def sessions(work: Columns) -> None:
    """Make the columns of IMS records."""
    method = work.texts("method", "service_type")
    message = np.asarray(pc.fill_null(pc.equal(method, "MESSAGE"), False))
    own = work.readers.source.service_type
    work.words("service_type", message.astype(np.int64), [own or "voip", own or "sms"])
    request = _with_milliseconds(work, "request", "start_time")
    delivery = _with_milliseconds(work, "delivery", "answer_time")
    end = _with_milliseconds(work, "end", "end_time")
    opening, closure = work.times("opening", "start_time"), work.times("closure", "end_time")
    start = first_of(request, opening, delivery, end)
    work.span_of_time(start, first_of(end, closure, start), ~(end.present | closure.present), delivery)
    calling, called, requested = (_party(work, name) for name in ("calling", "called", "requested"))
    work.keep("calling_number", calling)
    work.keep("called_number", called)
    same = pc.fill_null(pc.equal(requested, called), False)
    work.keep("dialled_number", pc.if_else(same, pa.scalar(None, pa.string()), requested))
    reason = work.labels("reason", "cause", threegpp_text.label)
    cause = work.labels("cause", "cause", threegpp_text.integer).cast(pa.string())
    work.keep("cause", pc.coalesce(reason.cast(pa.string()), cause))
    invited = np.asarray(pc.fill_null(pc.equal(method, "INVITE"), False))
    work.words("disposition", _disposition(reason, delivery, invited, message), _DISPOSITIONS)
    work.keep("cell_id", work.labels("location", "cell_id", threegpp_text.user_location))
    work.keep("trunk_in", work.labels("trunk_in", "trunk_in", threegpp_text.label))
    work.keep("trunk_out", work.labels("trunk_out", "trunk_out", threegpp_text.label))
    work.keep("switch", work.labels("node", "switch", threegpp_text.address))
    work.keep("call_link", work.labels("icid", "call_link", threegpp_text.label))
    sequence, local = work.sequence("record_sequence"), work.integers("local_sequence", "record_key")
    key = Key(work.rows, work.kind.letters)
    key.octets(work.data, work.fields["role"])
    key.number(sequence.values, sequence.present)
    key.literal("/")
    key.number(local.values, local.present)
    key.time(start._replace(present=start.present & ~local.present))
    key.literal("/")
    session = pc.fill_null(work.texts("session", "record_key"), "")
    work.made["record_key"] = pc.binary_join_element_wise(key.column(), session, "")


def _with_milliseconds(work: Columns, name: str, field: str) -> Times:
    time = work.times(name, field)
    fraction = work.integers(name + "_ms", field)
    return time._replace(values_us=time.values_us + np.minimum(fraction.values, 999) * 1000)


def _party(work: Columns, name: str) -> Column:
    """Return one party: the number if it is told, else its URI."""
    field = {"calling": "calling_number", "called": "called_number", "requested": "dialled_number"}[name]
    choices = [work.texts(f"{name}_{kind}", field) for kind in ("tel", "e164", "sip", "urn", "external")]
    return pc.coalesce(_bare(choices[0]), *choices[1:])


def _bare(uri: Column) -> Column:
    """Return a `tel:` URI without its parameters, so that one number is written in one way."""
    if uri.null_count == len(uri):
        return uri
    return pc.replace_substring_regex(uri, r"^((?:[Tt][Ee][Ll]:)?\+[0-9.() -]+);.*$", r"\1")


def _disposition(reason: Column, delivery: Times, invited: Mask, message: Mask) -> Column:
    """Return indices of `_DISPOSITIONS`; other methods than INVITE and MESSAGE have none."""
    meaning = np.array([_BY_CODE.get(word, _FAILED) for word in reason.dictionary.to_pylist()] + [_FAILED], np.int64)
    failed = np.array(
        [word is not None and word.isdigit() and int(word) >= 300 for word in reason.dictionary.to_pylist()] + [False],
        np.bool_,
    )
    indices = np.asarray(pc.fill_null(reason.indices, -1), np.int64)
    codes = np.full(len(reason), -1, np.int64)
    codes[message] = np.where(failed[indices], _FAILED, _SENT)[message]
    codes[invited] = np.where(delivery.present, _ANSWERED, meaning[indices])[invited]
    return codes


def charging_records(work: Columns) -> None:
    """Make the columns of the 5G charging function's records."""
    event = work.times("event", "start_time")
    message = event.present
    own = work.readers.source.service_type
    work.words("service_type", message.astype(np.int64), [own or "data", own or "sms"])
    opening, stop = work.times("opening", "start_time"), work.times("stop", "end_time")
    duration = work.seconds("duration", "duration_ms")
    start = first_of(event, opening)
    end = first_of(event, stop, later(opening, duration), opening)
    work.span_of_time(start, end, ~message & ~stop.present)
    work.keep("duration_ms", pa.array(duration.values * 1000, mask=~duration.present | message))
    _subscriber(work)
    addresses(work, work.fields["ipv4"], work.fields["ipv6"])
    usage_volumes(work, work.fields["usage"])
    work.keep("cell_id", _place(work))
    work.keep("trunk_in", work.labels("consumer", "trunk_in", threegpp_text.label))
    centre = work.labels("centre", "trunk_out", threegpp_text.number).cast(pa.string())
    work.keep("trunk_out", pc.coalesce(centre, work.labels("apn", "trunk_out", threegpp_text.label).cast(pa.string())))
    work.keep("cause", work.labels("cause", "cause", threegpp_text.integer))
    work.words("disposition", np.where(message, _SENT, _CLOSED), _DISPOSITIONS)
    work.keep("switch", work.labels("node", "switch", threegpp_text.label))
    work.keep("tenant", work.labels("tenant", "tenant", threegpp_text.label))
    _charging_key(work, opening)


def _charging_key(work: Columns, opening: Times) -> None:
    charging = work.integers("charging", "record_key")
    work.keep("call_link", in_digits(charging))
    sequence, local = work.sequence("record_sequence"), work.integers("local_sequence", "record_key")
    key = Key(work.rows, work.kind.letters)
    key.number(charging.values, charging.present)
    key.literal("/")
    key.number(sequence.values, sequence.present)
    key.literal("/")
    key.number(local.values, local.present)
    key.time(opening._replace(present=opening.present & ~local.present))
    key.literal("/")
    session = work.labels("session", "record_key", threegpp_text.label).cast(pa.string())
    work.made["record_key"] = pc.binary_join_element_wise(key.column(), pc.fill_null(session, ""), "")


def _subscriber(work: Columns) -> None:
    """Keep who is charged: the subscriber by its type, the session's user, the two parties of a message."""
    told = pc.replace_substring_regex(work.texts("subscriber", "imsi"), _NAME_PREFIX, "")
    kind = work.integers("subscriber_type", "imsi")
    imsi = _where(told, kind.present & (kind.values == _IMSI_TYPE))
    number = _where(told, kind.present & (kind.values == _E164_TYPE))
    other = _where(told, kind.present & (kind.values > _IMSI_TYPE))
    user = _party_of_user(work)
    sender = work.telephone("originator_msisdn", "calling_number")
    receiver = work.telephone("recipient_msisdn", "called_number")
    work.party("calling_number", Telephone(first_told(sender.number, user, number, other), sender.delivered))
    named = work.texts("recipient_other", "called_number")
    work.party("called_number", Telephone(first_told(receiver.number, named), receiver.delivered))
    work.keep("imsi", first_told(work.digits("originator_imsi", "imsi"), imsi))
    work.keep("called_imsi", work.digits("recipient_imsi", "called_imsi"))
    own, sms = (work.labels(name, "imei", _equipment).cast(pa.string()) for name in ("equipment", "sms_equipment"))
    work.keep("imei", pc.coalesce(own, sms))


def _party_of_user(work: Columns) -> Column:
    choices = [work.texts(f"user_{kind}", "calling_number") for kind in ("e164", "tel", "sip", "external")]
    return pc.replace_substring_regex(pc.coalesce(*choices), r"^msisdn-", "")


def _equipment(content: bytes) -> str:
    """Return an equipment identity: TBCD digits, or the text that some charging functions write."""
    text = threegpp_text.label(content).removeprefix("imeisv-").removeprefix("imei-")
    if text.isdigit() and 14 <= len(text) <= 16:
        return text
    return threegpp_text.number(b"\x91" + content) or text


def _where(column: Column, mask: Mask) -> Column:
    return pc.if_else(pa.array(mask), column, pa.scalar(None, pa.string()))


def _place(work: Columns) -> Column:
    told = [
        work.labels("location_structured", "cell_id", threegpp_text.user_location_5g),
        work.labels("location", "cell_id", threegpp_text.user_location),
        work.labels("sms_location", "cell_id", threegpp_text.user_location),
    ]
    return pc.coalesce(*(column.cast(pa.string()) for column in told))
