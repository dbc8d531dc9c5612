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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from api.handover.markup import escaped

NAMESPACE: Final = "http://uri.etsi.org/02657/v1.28.1#/RetainedData"
HEADER_ID: Final = "0.4.0.2.3.0.28"
NATIONAL_HEADER: Final = "lagrum.1"
OUTDATED_SINCE: Final = "outdated-since"
_TIME: Final = "%Y%m%d%H%M%S"
_ROLES: Final[dict[str, tuple[str, str]]] = {
    # service type -> role of the calling and of the called side
    "sms": ("smsOriginator", "smsRecipient"),
    "mms": ("smsOriginator", "smsRecipient"),
}
_VOICE: Final = ("originating-Party", "terminating-Party")
_TELEPHONY: Final = frozenset({"voice", "voip", "sms", "mms"})
_PARTIES: Final = frozenset(
    {"calling_number", "called_number", "forwarded_number", "imsi", "imei", "called_imsi", "called_imei"}
)
_ACCESS: Final = frozenset({"calling_number", "imsi", "imei"})
"""What the standard's own elements say already. Every other permitted value is in the national payload, times included:
those elements have whole seconds, and the record microseconds."""


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
    zone = timezone(timedelta(seconds=offset_s))
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).astimezone(zone)
    return moment.strftime(_TIME) + moment.strftime("%z")[:5]


def message(header: Header, payload: Iterable[str]) -> bytes:
    """Return a whole message around the lines of a payload."""
    lines = [
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
        *payload,
        " </retainedDataPayload>",
        "</retainedDataMessage>",
        "",
    ]
    return "\n".join(lines).encode("utf-8")


def response(header: Header, rows: Iterable[Mapping[str, Any]], first_record: int, *, complete: bool) -> bytes:
    """Return one part of a result; `rows` are printable records in their order, numbered from `first_record`."""

    def lines() -> Iterable[str]:
        status = "responseComplete" if complete else "responseIncomplete"
        yield "  <responseMessage>"
        yield f"   <responseStatus><{status}/></responseStatus>"
        yield "   <responsePayload>"
        for number, row in enumerate(rows, start=first_record):
            yield from _record(number, row, header.country)
        yield "   </responsePayload>"
        yield "  </responseMessage>"

    return message(header, lines())


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


def _record(number: int, row: Mapping[str, Any], country: str) -> Iterable[str]:
    yield "    <ResponseRecord>"
    yield f"     <recordNumber>{number}</recordNumber>"
    yield "     <recordPayload>"
    service = row.get("service_type")
    # A basis that keeps the service type back still has parties or it has not.
    if service in _TELEPHONY or (service is None and _has_party(row)):
        expressed = _PARTIES
        yield from _telephony(row, str(service or "other"))
    else:
        expressed = _ACCESS
        yield from _access(row)
    yield "     </recordPayload>"
    yield "     <nationalRecordPayload>"
    yield f"      <countryCode>{escaped(country)}</countryCode>"
    yield f"      <headerID>{NATIONAL_HEADER}</headerID>"
    for name, value in row.items():
        if value is not None and name not in expressed:
            yield f'      <field name="{name}">{escaped(_plain(value))}</field>'
    yield "     </nationalRecordPayload>"
    yield "    </ResponseRecord>"


def _has_party(row: Mapping[str, Any]) -> bool:
    return any(row.get(name) is not None for name in ("calling_number", "called_number", "forwarded_number"))


def _telephony(row: Mapping[str, Any], service: str) -> Iterable[str]:
    originating, terminating = _ROLES.get(service, _VOICE)
    parties = (
        (originating, row.get("calling_number"), row.get("imsi"), row.get("imei")),
        (terminating, row.get("called_number"), row.get("called_imsi"), row.get("called_imei")),
        ("forwarded-to-Party", row.get("forwarded_number"), None, None),
    )
    yield "      <telephonyRecord><telephonyServiceUsage><partyInformation>"
    times = _times("communicationTime", row)
    for role, number, imsi, imei in parties:
        if number is None and imsi is None and imei is None:
            continue
        yield "       <TelephonyPartyInformation>"
        yield f"        <partyRole><{role}/></partyRole>"
        yield from _if("partyNumber", number, "        ")
        yield from times
        yield from _if("iMSI", imsi, "        ")
        yield from _if("iMEI", imei, "        ")
        yield f"        <partyType><other>{escaped(service)}</other></partyType>"
        yield "       </TelephonyPartyInformation>"
    yield "      </partyInformation></telephonyServiceUsage></telephonyRecord>"


def _access(row: Mapping[str, Any]) -> Iterable[str]:
    yield "      <networkAccessRecord><nAServiceUsage>"
    yield from _times("interval", row)
    yield from _if("naDeviceId", row.get("imei"), "        ")
    if row.get("imsi") is not None or row.get("calling_number") is not None:
        yield "        <gprsInformation>"
        yield from _if("iMSI", row.get("imsi"), "         ")
        yield from _if("mSISDN", row.get("calling_number"), "         ")
        yield "        </gprsInformation>"
    yield "      </nAServiceUsage></networkAccessRecord>"


def _times(tag: str, row: Mapping[str, Any]) -> list[str]:
    offset = row.get("utc_offset_s") or 0
    found = [(name, row.get(field)) for name, field in (("startTime", "start_time"), ("endTime", "end_time"))]
    duration = row.get("duration_ms")
    inner = [f"<{name}>{_local(value, offset)}</{name}>" for name, value in found if value is not None]
    if duration is not None:
        inner.append(f"<durationTime>{duration // 1000}</durationTime>")
    return [f"        <{tag}>{''.join(inner)}</{tag}>"] if inner else []


def _local(printed: str, offset_s: int) -> str:
    moment = datetime.fromisoformat(printed)
    return moment.astimezone(timezone(timedelta(seconds=offset_s))).strftime(_TIME + "%z")[:19]


def _if(tag: str, value: Any, indent: str) -> Iterable[str]:
    return () if value is None else (f"{indent}<{tag}>{escaped(value)}</{tag}>",)


def _plain(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value
