"""Oracle (Acme Packet) session border controllers: CSV files of accounting records, RADIUS attributes by position.

The first column is Acct-Status-Type. Start (1) is OPEN, Interim-Update (3) is UPDATE, Stop (2) is CLOSE. A Stop by
itself is a whole record, with its own start; every attempt has one. Other types (Accounting-On) are `unsupported`.

Which attribute stands in which column depends on the release and its settings; see `ingest.decoders.acme.columns`.
The options `start`, `interim` and `stop` say it: `4=Acct-Session-Id,10=Calling-Station-Id,…`, 1-based. Without them the
columns are those of release C6.4 for Start and Stop; of an Interim only identity and parties are read.

Quotes inside quoted values are not escaped: such a value ends at a quote before a comma. A display name may hold just
that and shift the columns, so all rows of one type in a delivery must be as wide as the first of them, or as option
`widths` says (`start=180,stop=269`).

Identity (`record_key`): Acct-Session-Id within the NAS address (`switch`), Start and Stop alike; an Interim adds a
digest of its row. That is the identity of the same records over RADIUS too (`ingest.decoders.radius.records`).

Times carry their zone (`15:54:56.868 PST DEC 18 2017`). The source's zone settles an abbreviation that means several.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, BinaryIO, Final

from ingest import times
from ingest.decoders.acme.columns import INTERIM, OPTIONS, START, STOP, field_maps, widths
from ingest.decoders.base import Decoded, Event
from ingest.decoders.freeswitch.json_cdr import address_of
from ingest.decoders.radius.records import party_of
from ingest.decoders.row_stretch import Columns, Refusal, RowStretch, kept_values
from ingest.lines import read_lines
from ingest.source_config import SourceConfig
from schemas.rejects import RejectReason

COLUMNS_MAX: Final = 1024
"""A row with more columns is none."""

_NARROWEST: Final = {START: 13, INTERIM: 11, STOP: 17}
_EVENTS: Final = {START: Event.OPEN, INTERIM: Event.UPDATE, STOP: Event.CLOSE}
_COLUMNS: Final = Columns(
    (
        "position", "event", "session_key", "switch", "record_key", "service_type", "calling_number",
        "calling_number_delivered", "called_number", "called_number_delivered", "dialled_number", "forwarded_number",
        "start_time", "answer_time", "end_time", "utc_offset_s", "billable_duration_ms", "source_ip", "source_port",
        "destination_ip", "destination_port", "volume_up_bytes", "volume_down_bytes", "disposition", "cause",
        "trunk_in", "trunk_out", "call_link",
    )
)  # fmt: skip
_STAMP: Final = re.compile(
    r"[*.]?([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))? "
    r"([A-Za-z+\-0-9:]{1,8} (?:[A-Za-z]{3} )?[A-Za-z]{3} [ 0-9]?[0-9] [0-9]{4})"
)
MINUTES_REMEMBERED_MAX: Final = 50_000
_WITHHELD: Final = re.compile(r"sips?:(?:anonymous|restricted|unavailable|unknown)\b", re.IGNORECASE)
_SIP_WORDS: Final = {
    "486": "busy", "600": "busy", "487": "cancelled", "408": "no-answer", "480": "no-answer",
}  # fmt: skip
_Q850_WORDS: Final = {"16": "cancelled", "17": "busy", "18": "no-answer", "19": "no-answer"}


class AcmeCsv:
    """CSV files of accounting records."""

    name = "acme-csv"
    summary = "Oracle/Acme Packet SBC accounting CSV, columns by field map"
    zoned = True
    options = OPTIONS

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's rows in order.

        Raises:
            ConfigurationError: a field map or `widths` cannot be understood; the zone does not exist.
            InputError: the delivery is UTF-16.
        """
        maps, expected = field_maps(source), widths(source)
        rows = _Rows(source)
        stretch = RowStretch(_COLUMNS, kept_values)
        for line in read_lines(stream):
            row = [] if line.reason is not None else _split(line.data)
            reason = line.reason or (None if row else RejectReason.MALFORMED)
            kind = row[0].strip() if row else ""
            if reason is None and kind not in _EVENTS:
                reason = RejectReason.UNSUPPORTED if re.fullmatch(r"[0-9]{1,2}", kind) else RejectReason.MALFORMED
            if reason is None and (len(row) < _NARROWEST[kind] or len(row) != expected.get(kind, len(row))):
                reason = RejectReason.COLUMN_COUNT
            if reason is not None:
                stretch.refuse(line.reject(reason))
            else:
                values = {
                    name: row[place - 1].strip() for name, place in maps[kind].items() if place <= len(row)
                }  # fmt: skip
                try:
                    stretch.take(rows.record(line.position, kind, values, line.data), values, line.length_bytes)
                    expected.setdefault(kind, len(row))
                except Refusal as refusal:
                    stretch.refuse(line.reject(refusal.reason, field=refusal.field, raw=kept_values(values)))
            if stretch.is_full:
                yield stretch.decoded()
                stretch = RowStretch(_COLUMNS, kept_values)
        if not stretch.is_empty:
            yield stretch.decoded()


def _split(data: bytes) -> list[str]:
    """Return the columns of a row, none when a quoted value does not end or another kind of line end stands within."""
    text = data.decode("utf-8", "surrogateescape").rstrip("\r")
    if len(text.splitlines()) > 1:  # rows that end so are several here
        return []
    try:
        plain = next(csv.reader([text], strict=True), [])
        return plain if len(plain) <= COLUMNS_MAX else []
    except csv.Error:
        pass
    row: list[str] = []
    opened: list[str] = []  # the pieces of a quoted value that has not ended
    for piece in text.split(","):
        if opened:
            opened.append(piece)
        elif not piece.startswith('"'):
            row.append(piece)
            continue
        else:
            opened = [piece]
        if piece.endswith('"') and (len(opened) > 1 or len(piece) > 1):
            row.append(",".join(opened)[1:-1])
            opened = []
    return [] if opened or len(row) > COLUMNS_MAX else row


class _Rows:
    """Makes events of rows; what the source settles is read once."""

    def __init__(self, source: SourceConfig) -> None:
        self._zone = None if source.zone is None else times.ZoneTimes(source.zone)
        self._minutes: dict[tuple[str, str], tuple[int, int] | None] = {}
        self._element = source.element
        self._service = source.service_type or "voip"

    def record(self, position: int, kind: str, values: dict[str, str], line: bytes) -> tuple[Any, ...]:
        """Return one event as a tuple of `_COLUMNS`.

        Raises:
            Refusal: a field is missing or has not its form.
        """
        get = values.get
        session = get("Acct-Session-Id")
        if not session:
            raise Refusal(RejectReason.MISSING_FIELD, "Acct-Session-Id")
        event, nas = _EVENTS[kind], get("NAS-IP-Address") or self._element
        key = session
        if kind == INTERIM:
            key += " " + blake2b(line, digest_size=8).hexdigest()
        setup, offset_s = self._time(values, "h323-setup-time")
        answer, _ = self._time(values, "h323-connect-time")
        end, end_offset_s = self._time(values, "h323-disconnect-time")
        seconds = _number(values, "Acct-Session-Time", 10)
        start = setup or answer
        if start is None and end is not None and seconds is not None:
            start = end - seconds * 1_000_000
        if kind == START and start is None:
            raise Refusal(RejectReason.MISSING_FIELD, "h323-setup-time")
        if kind == STOP and end is None:
            raise Refusal(RejectReason.MISSING_FIELD, "h323-disconnect-time")
        if start is not None and end is not None and (end < start or (answer is not None and end < answer)):
            raise Refusal(RejectReason.BAD_TIME, "h323-disconnect-time")
        calling, calling_uri = _party(_caller(values))
        called, called_uri = _party(get("Called-Station-Id"))
        diverted = _party(get("Acme-SIP-Diversion"))[0]
        diverted = None if diverted == called else diverted
        cause = _cause(values)
        record = (
            position,
            event.value,
            f"{nas} {session}",
            nas,
            key,
            self._service,
            calling,
            calling_uri,
            called,
            called_uri,
            diverted,
            called if diverted else None,
            start,
            answer,
            end if kind == STOP else None,
            offset_s if offset_s is not None else end_offset_s,
            None if seconds is None or kind != STOP else seconds * 1000,
            address_of(get("Acme-Flow-In-Src-Addr")),
            _port(get("Acme-Flow-In-Src-Port")),
            address_of(get("Acme-Flow-Out-Dst-Addr")),
            _port(get("Acme-Flow-Out-Dst-Port")),
            _number(values, "Acme-Calling-Octets", 18),
            _number(values, "Acme-Called-Octets", 18),
            _disposition(values, answer, seconds) if kind == STOP else None,
            cause if kind == STOP else None,
            get("Acme-Session-Ingress-Realm") or None,
            get("Acme-Session-Egress-Realm") or None,
            get("Acme-Session-Ingress-CallId") or None,
        )
        _COLUMNS.check_texts(record)
        return record

    def _time(self, values: dict[str, str], name: str) -> tuple[int | None, int | None]:
        """Return µs since 1970 UTC and the offset; None where the stamp is empty or 0, which means never."""
        text = values.get(name, "")
        if text in ("", "0"):
            return None, None
        found = _STAMP.fullmatch(text)
        if found is None:
            raise Refusal(RejectReason.BAD_TIME, name)
        clock, second, fraction, rest = found.groups()
        key = (clock, rest)
        if key not in self._minutes:
            if len(self._minutes) >= MINUTES_REMEMBERED_MAX:
                self._minutes.clear()
            self._minutes[key] = _minute(clock, rest, self._zone)
        minute = self._minutes[key]
        if minute is None or int(second) > 59:
            raise Refusal(RejectReason.BAD_TIME, name)
        microseconds = int(second) * 1_000_000 + int((fraction or "0").ljust(6, "0"))
        return minute[0] + microseconds, minute[1]


def _minute(clock: str, rest: str, zone: times.ZoneTimes | None) -> tuple[int, int] | None:
    """Return µs since 1970 UTC and the offset of `HH:MM` and `ZONE [WEEKDAY] MONTH DAY YEAR`, None if there is none."""
    hour, _, minute = clock.partition(":")
    abbreviation, *_, month, day, year = rest.split()
    date = (int(year), times.month_number(month.capitalize()), int(day))
    wall = times.wall_time(date, (int(hour), int(minute), 0))
    offset = None if wall is None else times.offset_s(wall, abbreviation.upper(), zone)
    return None if wall is None or offset is None else (times.epoch_us(wall, offset), offset)


def _caller(values: dict[str, str]) -> str | None:
    """Return the calling party; a withheld one gives way to the identity that the network asserts."""
    caller = values.get("Calling-Station-Id")
    asserted = values.get("Acme-P-Asserted-ID")
    return asserted if asserted and (not caller or _WITHHELD.search(caller)) else caller


def _party(text: str | None) -> tuple[str | None, str | None]:
    """Return number and URI as delivered of a SIP URI of a telephone; display name and tag are dropped."""
    if not text:
        return None, None
    return party_of(text) if "sip" in text else (text.partition(";")[0].strip("<> "), None)


def _number(values: dict[str, str], name: str, digits: int) -> int | None:
    text = values.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= digits):
        raise Refusal(RejectReason.BAD_FIELD, name)
    return int(text)


def _port(text: str | None) -> int | None:
    if text and text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65_536:
        return int(text)
    return None


def _cause(values: dict[str, str]) -> str | None:
    """Return the Q.850 cause, else RADIUS's terminate cause."""
    told = values.get("h323-disconnect-cause", "")
    return told if told not in ("", "0") else values.get("Acct-Terminate-Cause") or None


def _disposition(values: dict[str, str], answer: int | None, seconds: int | None) -> str:
    if answer is not None or seconds:
        return "answered"
    word = _SIP_WORDS.get(values.get("Acme-SIP-Status", ""))
    return word or _Q850_WORDS.get(values.get("h323-disconnect-cause", ""), "failed")
