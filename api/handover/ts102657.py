"""ETSI TS 102 657 messages (RetainedDataMessage, XML), written: an UNVERIFIED PROFILE.

The standard's schema is not published freely, so nothing here is validated against it. What rests on a published
synthetic export and what on reading only is told, element by element, in docs/HANDOVER.md. The namespace, header,
response, record, party and time elements are those of that export; everything else that a record says stands in
`nationalRecordPayload`, under the names of docs/FIELDS.md, so that nothing permitted is lost and nothing is guessed.

A result in several parts is several messages of one `requestID`: `responseIncomplete` until the last,
`responseComplete` in the last; record numbers run on.

Source: ETSI TS 102 657 V1.28.1 (retained data handover).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from api.handover.columns import (
    Octets,
    as_texts,
    fixed,
    joined,
    octets_of,
    present,
    rewritten,
    scalar,
    stretches,
    where,
)
from api.handover.markup import escaped
from schemas.buffers import Column, Ints, Mask, pc, text_views, valid_mask

NAMESPACE: Final = "http://uri.etsi.org/02657/v1.28.1#/RetainedData"
HEADER_ID: Final = "0.4.0.2.3.0.28"
NATIONAL_HEADER: Final = "lagrum.1"
OUTDATED_SINCE: Final = "outdated-since"
_TIME: Final = "%Y%m%d%H%M%S"
_MESSAGES: Final = ("sms", "mms")
_TELEPHONY: Final = ("voice", "voip", *_MESSAGES)
_SIDES: Final = (
    # role in a call, role in a message, number, IMSI, IMEI
    ("originating-Party", "smsOriginator", "calling_number", "imsi", "imei"),
    ("terminating-Party", "smsRecipient", "called_number", "called_imsi", "called_imei"),
    ("forwarded-to-Party", "forwarded-to-Party", "forwarded_number", None, None),
)
_NUMBERS: Final = tuple(side[2] for side in _SIDES)
_PARTIES: Final = frozenset(name for side in _SIDES for name in side[2:] if name is not None)
_ACCESS: Final = frozenset({"calling_number", "imsi", "imei"})
"""What the standard's own elements say already. Every other permitted value is in the national payload, times included:
those elements have whole seconds, and the record microseconds."""
_IN_XML: Final = Octets.of(b"&<>" + bytes(set(range(0x20)) - set(b"\t\n\r")) + b"\xef")
"""For which `escaped` may change a text; what XML cannot hold beyond ASCII begins with the last."""
_DIGITS: Final = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)
"""Of `2026-05-20 12:00:00`, those that GeneralizedTime has."""
_FIRST_S: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_LAST_S: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
"""Between these seconds since 1970 a year has four digits."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who is answered, and by whom: `number` is the task's id."""

    country: str
    organisation: str
    number: str
    csp: str
    time_us: int


def instant(time_us: int, offset_s: int = 0) -> str:
    """Return GeneralizedTime in whole seconds with its offset, as the export writes it (`20260520120000+0200`)."""
    moment = datetime.fromtimestamp(time_us // 1_000_000 + offset_s, UTC)
    return moment.strftime(_TIME) + _zone(offset_s)


def message(header: Header, payload: Iterable[str]) -> bytes:
    """Return a whole message around the lines of a payload."""
    before, after = _around(header)
    return b"".join([before, *(f"{line}\n".encode() for line in payload), after])


def _around(header: Header) -> tuple[bytes, bytes]:
    """Return what stands before and behind the lines of a payload."""
    before = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- ETSI TS 102 657 V1.28.1, UNVERIFIED PROFILE: not validated against the standard's schema -->",
        f'<retainedDataMessage xmlns="{NAMESPACE}">',
        f" <rdHeaderId>{HEADER_ID}</rdHeaderId>",
        " <retainedDataHeader>",
        "  <requestID>",
        f"   <countryCode>{escaped(header.country)}</countryCode>",
        f"   <authorisedOrganisationID>{escaped(header.organisation)}</authorisedOrganisationID>",
        f"   <requestNumber>{escaped(header.number)}</requestNumber>",
        "  </requestID>",
        f"  <cSPID>{escaped(header.csp)}</cSPID>",
        f"  <timeStamp>{instant(header.time_us)}</timeStamp>",
        " </retainedDataHeader>",
        " <retainedDataPayload>",
        "",
    ]
    return "\n".join(before).encode("utf-8"), b" </retainedDataPayload>\n</retainedDataMessage>\n"


def response(header: Header, printed: pa.Table, first_record: int, *, complete: bool) -> bytes:
    """Return one part of a result; `printed` has printable records in their order, numbered from `first_record`.

    Raises:
        ValueError: a record has an offset of a day or more.
    """
    status = "responseComplete" if complete else "responseIncomplete"
    opening = f"  <responseMessage>\n   <responseStatus><{status}/></responseStatus>\n   <responsePayload>\n"
    before, after = _around(header)
    pieces: list[bytes | memoryview] = [before, opening.encode("ascii")]
    for piece in stretches(printed):
        pieces.append(_records(_Records(piece), first_record, escaped(header.country)))
        first_record += piece.num_rows
    return b"".join([*pieces, b"   </responsePayload>\n  </responseMessage>\n", after])


def request_acknowledgement(header: Header) -> bytes:
    """Return the answer to a request that has been taken in."""
    return message(header, ["  <requestAcknowledgement/>"])


def cancel_acknowledgement(header: Header) -> bytes:
    """Return the answer to a cancellation that holds."""
    return message(header, ["  <cancelAcknowledgement/>"])


def status(header: Header, state: str, outdated_since: str | None = None) -> bytes:
    """Return where a request stands; `state` is TS 103 120's word.

    `outdated_since`: since when its result, which has left, is outdated. The standard's elements that are known
    here have no place for it, so it is a national field.
    """
    told = []
    if outdated_since is not None:
        told = [
            "   <nationalRequestParameters>",
            f"    <countryCode>{escaped(header.country)}</countryCode>",
            f"    <headerID>{NATIONAL_HEADER}</headerID>",
            f'    <field name="{OUTDATED_SINCE}">{escaped(outdated_since)}</field>',
            "   </nationalRequestParameters>",
        ]
    stands = f"   <requestStatus>{escaped(state)}</requestStatus>"
    return message(header, ["  <statusMessage>", stands, *told, "  </statusMessage>"])


def error(header: Header, code: str, text: str) -> bytes:
    """Return why a request has no answer."""
    return message(
        header,
        [
            "  <errorMessage>",
            f"   <errorCode>{escaped(code)}</errorCode>",
            f"   <errorDescription>{escaped(text)}</errorDescription>",
            "  </errorMessage>",
        ],
    )


class _Records:
    """Printable records: their columns as texts of elements, made once each."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.rows = table, table.num_rows
        self._texts: dict[str, Column] = {}

    def raw(self, name: str | None) -> Column:
        """Return a column as it is; nulls where there is none of that name."""
        return self.table[name] if name in self.table.column_names else pa.nulls(self.rows, pa.string())

    def texts(self, name: str | None) -> Column:
        """Return a column as texts that stand in XML."""
        key = name or ""
        if key not in self._texts:
            self._texts[key] = rewritten(as_texts(self.raw(name)), _IN_XML, escaped)
        return self._texts[key]

    def has(self, *names: str | None) -> Mask:
        """Tell row by row whether one of these fields has a value."""
        found: Mask = np.logical_or.reduce([valid_mask(self.texts(name)) for name in names])
        return found

    @cached_property
    def is_telephony(self) -> Mask:
        """Tell row by row. A basis that keeps the service type back still has parties or it has not."""
        service = self.texts("service_type")
        return _are(service, _TELEPHONY) | (~valid_mask(service) & self.has(*_NUMBERS))


def _are(texts: Column, words: Iterable[str]) -> Mask:
    return np.asarray(pc.is_in(texts, value_set=pa.array(words, pa.string())).to_numpy(zero_copy_only=False))


def _line(indent: int, tag: str, texts: Column) -> Column:
    return joined(f"{' ' * indent}<{tag}>", texts, f"</{tag}>\n")


def _records(records: _Records, first: int, country: str) -> memoryview:
    numbers = pa.array(np.arange(first, first + records.rows)).cast(pa.string())
    parts = (
        "    <ResponseRecord>\n",
        _line(5, "recordNumber", numbers),
        "     <recordPayload>\n",
        where(records.is_telephony, _telephony(records)),
        where(~records.is_telephony, _access(records)),
        "     </recordPayload>\n     <nationalRecordPayload>\n",
        f"      <countryCode>{country}</countryCode>\n      <headerID>{NATIONAL_HEADER}</headerID>\n",
        *_national(records),
        "     </nationalRecordPayload>\n    </ResponseRecord>\n",
    )
    return octets_of(present(*parts))


def _national(records: _Records) -> Iterable[Column]:
    for name in records.table.column_names:
        if name in _ACCESS:
            continue  # telephony and access both say it already
        line = joined(f'      <field name="{name}">', records.texts(name), "</field>\n")
        yield where(~records.is_telephony, line) if name in _PARTIES else line


def _telephony(records: _Records) -> Column:
    service = records.texts("service_type")
    is_message = pa.array(_are(service, _MESSAGES))
    named = pc.if_else(pc.equal(pc.fill_null(service, scalar("")), scalar("")), scalar("other"), service)
    times = _times("communicationTime", records)
    parties = []
    for in_call, in_message, number, imsi, imei in _SIDES:
        party = present(
            joined(
                "       <TelephonyPartyInformation>\n        <partyRole><",
                pc.if_else(is_message, scalar(in_message), scalar(in_call)),
                "/></partyRole>\n",
            ),
            _line(8, "partyNumber", records.texts(number)),
            times,
            _line(8, "iMSI", records.texts(imsi)),
            _line(8, "iMEI", records.texts(imei)),
            joined("        <partyType><other>", named, "</other></partyType>\n"),
            "       </TelephonyPartyInformation>\n",
        )
        parties.append(where(records.has(number, imsi, imei), party))
    return present(
        "      <telephonyRecord><telephonyServiceUsage><partyInformation>\n",
        *parties,
        "      </partyInformation></telephonyServiceUsage></telephonyRecord>\n",
    )


def _access(records: _Records) -> Column:
    served = present(
        "        <gprsInformation>\n",
        _line(9, "iMSI", records.texts("imsi")),
        _line(9, "mSISDN", records.texts("calling_number")),
        "        </gprsInformation>\n",
    )
    return present(
        "      <networkAccessRecord><nAServiceUsage>\n",
        _times("interval", records),
        _line(8, "naDeviceId", records.texts("imei")),
        where(records.has("imsi", "calling_number"), served),
        "      </nAServiceUsage></networkAccessRecord>\n",
    )


def _times(tag: str, records: _Records) -> Column:
    """Return the line of start, end and duration; null where a record has none of them."""
    offsets = pc.fill_null(records.raw("utc_offset_s").cast(pa.int64()), 0).to_numpy()
    fields = (("startTime", "start_time"), ("endTime", "end_time"))
    inner = [_element(name, _local(records.texts(field), offsets)) for name, field in fields]
    duration = records.raw("duration_ms").cast(pa.int64())
    whole = np.floor_divide(pc.fill_null(duration, 0).to_numpy(), 1000)
    inner.append(_element("durationTime", where(np.asarray(duration.is_valid()), pa.array(whole).cast(pa.string()))))
    line = joined(f"        <{tag}>", present(*inner), f"</{tag}>\n")
    return where(records.has("start_time", "end_time", "duration_ms"), line)


def _element(tag: str, texts: Column) -> Column:
    return joined(f"<{tag}>", texts, f"</{tag}>")


def _local(printed: Column, offsets_s: Ints) -> Column:
    """Return printed times as `instant` writes them, each with its own offset; nulls as they are.

    Where the local time is in no year of four digits, it is UTC.
    """
    moments = pc.fill_null(printed.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), 0).to_numpy() // 1_000_000
    there = (moments + offsets_s >= _FIRST_S) & (moments + offsets_s <= _LAST_S)
    offsets_s = np.where(there, offsets_s, 0)
    local = pa.array(moments + offsets_s, pa.timestamp("s")).cast(pa.string())
    characters = text_views(local)[1].reshape(len(local), -1)[:, _DIGITS]
    distinct, place = np.unique(offsets_s, return_inverse=True)
    zones = pa.array([_zone(offset) for offset in distinct.tolist()], pa.string())
    return where(valid_mask(printed), joined(fixed(len(_DIGITS), characters), pc.take(zones, pa.array(place))))


def _zone(offset_s: int) -> str:
    return datetime(1970, 1, 1, tzinfo=timezone(timedelta(seconds=offset_s))).strftime("%z")[:5]
