"""What a delivery's files say, written cell by cell: the plain twin of what is written by columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pyarrow as pa

from api.disclosure.printing import inert
from api.handover.markup import escaped
from api.handover.ts102657 import Header, message

Row = Mapping[str, Any]
TELEPHONY = {"voice", "voip", "sms", "mms"}
ACCESS = {"calling_number", "imsi", "imei"}
PARTIES = {"calling_number", "called_number", "forwarded_number", "imsi", "imei", "called_imsi", "called_imei"}


def printed(records: pa.Table, names: Sequence[str]) -> list[Row]:
    """Return the records with the permitted fields, times as texts."""
    return [
        {
            name: value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        for row in records.select([name for name in names if name in records.column_names]).to_pylist()
    ]


def ndjson(rows: Iterable[Row]) -> bytes:
    kept = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in kept)


def to_csv(rows: Iterable[Row], names: Sequence[str]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return sink.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    return inert(value) if isinstance(value, str) else _plain(value)


def _plain(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


def response(header: Header, rows: Iterable[Row], first: int, *, complete: bool) -> bytes:
    status = "responseComplete" if complete else "responseIncomplete"
    lines = ["  <responseMessage>", f"   <responseStatus><{status}/></responseStatus>", "   <responsePayload>"]
    for number, row in enumerate(rows, start=first):
        lines += _record(number, row, header.country)
    return message(header, [*lines, "   </responsePayload>", "  </responseMessage>"])


def _record(number: int, row: Row, country: str) -> Iterable[str]:
    yield "    <ResponseRecord>"
    yield f"     <recordNumber>{number}</recordNumber>"
    yield "     <recordPayload>"
    service = row.get("service_type")
    parties = (row.get(name) for name in ("calling_number", "called_number", "forwarded_number"))
    if service in TELEPHONY or (service is None and any(party is not None for party in parties)):
        expressed = PARTIES
        yield from _telephony(row, str(service or "other"))
    else:
        expressed = ACCESS
        yield from _access(row)
    yield "     </recordPayload>"
    yield "     <nationalRecordPayload>"
    yield f"      <countryCode>{escaped(country)}</countryCode>"
    yield "      <headerID>lagrum.1</headerID>"
    for name, value in row.items():
        if value is not None and name not in expressed:
            yield f'      <field name="{name}">{escaped(_plain(value))}</field>'
    yield "     </nationalRecordPayload>"
    yield "    </ResponseRecord>"


def _telephony(row: Row, service: str) -> Iterable[str]:
    is_message = service in ("sms", "mms")
    originating, terminating = ("smsOriginator", "smsRecipient") if is_message else ("originating-Party", "")
    parties = (
        (originating, row.get("calling_number"), row.get("imsi"), row.get("imei")),
        (terminating or "terminating-Party", row.get("called_number"), row.get("called_imsi"), row.get("called_imei")),
        ("forwarded-to-Party", row.get("forwarded_number"), None, None),
    )
    yield "      <telephonyRecord><telephonyServiceUsage><partyInformation>"
    for role, number, imsi, imei in parties:
        if number is None and imsi is None and imei is None:
            continue
        yield "       <TelephonyPartyInformation>"
        yield f"        <partyRole><{role}/></partyRole>"
        yield from _if("partyNumber", number, "        ")
        yield from _times("communicationTime", row)
        yield from _if("iMSI", imsi, "        ")
        yield from _if("iMEI", imei, "        ")
        yield f"        <partyType><other>{escaped(service)}</other></partyType>"
        yield "       </TelephonyPartyInformation>"
    yield "      </partyInformation></telephonyServiceUsage></telephonyRecord>"


def _access(row: Row) -> Iterable[str]:
    yield "      <networkAccessRecord><nAServiceUsage>"
    yield from _times("interval", row)
    yield from _if("naDeviceId", row.get("imei"), "        ")
    if row.get("imsi") is not None or row.get("calling_number") is not None:
        yield "        <gprsInformation>"
        yield from _if("iMSI", row.get("imsi"), "         ")
        yield from _if("mSISDN", row.get("calling_number"), "         ")
        yield "        </gprsInformation>"
    yield "      </nAServiceUsage></networkAccessRecord>"


def _times(tag: str, row: Row) -> list[str]:
    offset = timezone(timedelta(seconds=row.get("utc_offset_s") or 0))
    inner = ""
    for name, field in (("startTime", "start_time"), ("endTime", "end_time")):
        if (value := row.get(field)) is not None:
            moment = datetime.fromisoformat(value)
            with suppress(OverflowError):  # in no year of four digits: as it is, in UTC
                moment = moment.astimezone(offset)
            local = moment.strftime("%Y%m%d%H%M%S%z")[:19]
            inner += f"<{name}>{local}</{name}>"
    if (duration := row.get("duration_ms")) is not None:
        inner += f"<durationTime>{duration // 1000}</durationTime>"
    return [f"        <{tag}>{inner}</{tag}>"] if inner else []


def _if(tag: str, value: Any, indent: str) -> Iterable[str]:
    return () if value is None else (f"{indent}<{tag}>{escaped(value)}</{tag}>",)
