"""BroadWorks: accounting files in XML, one `cdrData` element per leg of a call.

A call between two users of the platform has two records, one from each side (`direction`); both are stored, linked by
`extTrackingId`. The records of type Start and End that begin and end a file are no calls, and are not counted. A record
without a release (an interim one of a long call) is `unsupported`: the last one holds all of it.

Identity (`record_key`): event counter and time of the record id; `switch` is its system id. A file that is sent again,
or written by both servers of a pair, brings the same records.

Times are UTC, so no zone is needed; `userTimeZone` tells the offset of the user's local time.

XML is read by `ingest.decoders.xml_records`: no document type is parsed, so no entities. Only named elements leave.
Plain records are walked where they stand (`ingest.decoders.broadworks_walk`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import Element

from ingest.decoders.base import Decoded, nothing
from ingest.decoders.broadworks_walk import FORM, WORDS, table_of
from ingest.decoders.freeswitch.json_cdr import address_of
from ingest.decoders.freeswitch.walk import Legs, Walker
from ingest.decoders.row_stretch import Columns, Refusal, RowStretch, kept_values
from ingest.decoders.slices import is_utf8
from ingest.decoders.xml_records import UTF8, Marks, Piece, parse_element, read_pieces
from ingest.source_config import SourceConfig
from ingest.times import epoch_us, wall_time
from ingest.window import Window
from schemas.rejects import Reject, RejectReason

_MARKS: Final = Marks("cdrData", r"</?broadWorksCDR(?:\s[^<>]{0,300})?>")
_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "headerModule/recordId": ("eventCounter", "systemId", "date"),
    "headerModule": ("serviceProvider", "type"),
    "basicModule": (
        "userNumber", "direction", "callingNumber", "calledNumber", "dialedDigits", "redirectingNumber",
        "originalCalledNumber", "startTime", "userTimeZone", "localCallId", "answerIndicator", "answerTime",
        "releaseTime", "terminationCause", "userId", "extTrackingId",
    ),
    "centrexModule": ("trunkGroupName", "extTrackingId"),
    "ipModule": ("route", "networkCallID", "accessDeviceAddress", "userAgent", "extTrackingId"),
}  # fmt: skip
_COLUMNS: Final = Columns(
    (
        "position", "switch", "record_key", "service_type", "calling_number", "called_number", "dialled_number",
        "forwarded_number", "start_time", "answer_time", "end_time", "utc_offset_s", "billable_duration_ms",
        "source_ip", "destination_ip", "user_agent", "disposition", "cause", "trunk_in", "trunk_out", "call_link",
        "tenant", "account",
    )
)  # fmt: skip
_MARKERS: Final = frozenset({"Start", "End"})
_STAMP: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})(?:\.([0-9]{1,6}))?")
_OFFSET: Final = re.compile(r"[01]([+-])([0-9]{2})([0-9]{2})([0-9]{2})?")


class BroadworksXml:
    """Accounting files in XML."""

    name = "broadworks-xml"
    summary = "BroadWorks accounting files in XML"
    zoned = True
    options: tuple[str, ...] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's records in order.

        Raises:
            InputError: the delivery is UTF-16.
        """
        legs, walked = _Legs(source), _Walked(source)
        stretch, marked = RowStretch(_COLUMNS, kept_values), False
        for piece in read_pieces(stream, _MARKS, take=walked.take):
            if piece is None:
                walked.hand_over(stretch)
                if stretch.is_full:
                    yield stretch.decoded()
                    stretch = RowStretch(_COLUMNS, kept_values)
                continue
            values, reason = _values(piece)
            if reason is None and values.get("type") in _MARKERS and not values.get("startTime"):
                marked = True
                continue
            walked.position = position = walked.position + 1
            if reason is not None:
                stretch.refuse(Reject(position, reason, None, piece.offset, piece.length_bytes))
            else:
                try:
                    stretch.take(legs.record(position, values), values, piece.length_bytes)
                except Refusal as refusal:
                    raw = kept_values(values)
                    told = (refusal.reason, refusal.field, piece.offset, piece.length_bytes, raw)
                    stretch.refuse(Reject(position, *told))
            if stretch.is_full:
                walked.hand_over(stretch, all_of_it=True)
                yield stretch.decoded()
                stretch = RowStretch(_COLUMNS, kept_values)
        walked.hand_over(stretch, all_of_it=True)
        if not stretch.is_empty:
            yield stretch.decoded()
        if marked and not walked.position:
            yield nothing()


class _Walked:
    """The records that the compiled walk takes; `position` is that of the last record so far."""

    def __init__(self, source: SourceConfig) -> None:
        self._source, self._walker = source, Walker(FORM)
        self._done: Legs | None = None
        self.position = 0

    def take(self, window: Window, encoding: str) -> bool:
        """Take what the kernels understand, and move the window behind it."""
        rows, self._done = self._walker.walk(window, self.position + 1, is_utf8=encoding == UTF8)
        self.position += rows
        return rows > 0 or self._done is not None

    def hand_over(self, stretch: RowStretch, *, all_of_it: bool = False) -> None:
        """Give a stretch the records of a full block, or all that wait."""
        done, self._done = self._done, None
        for legs in (done, self._walker.rest() if all_of_it else None):
            if legs is not None:
                table = table_of(legs, self._source, _COLUMNS.names)
                size_bytes = int((legs.figures["end"] - legs.figures["begin"]).sum())
                stretch.take_walked(table, partial(_remembered, legs), size_bytes)


def _remembered(legs: Legs, row: int) -> dict[str, str]:
    """Return the elements that are read of a record that was walked; what is walked is the same in every encoding."""
    return _values(Piece(0, legs.text(row), 0, True, UTF8))[0]


def _values(piece: Piece) -> tuple[dict[str, str], RejectReason | None]:
    """Return a record's elements that are read, by name, or why there are none."""
    if piece.reason is not None or not piece.is_element:
        return {}, piece.reason or RejectReason.MALFORMED
    root = parse_element(piece.data, piece.encoding)
    if root is None:
        encoded = piece.encoding != "utf-8" or is_utf8(piece.data)
        return {}, RejectReason.MALFORMED if encoded else RejectReason.ENCODING
    found: dict[str, str] = {}
    for path, names in _MODULES.items():
        module = root.find(path)
        if module is not None:
            _read_into(found, module, names)
    return found, None


def _read_into(found: dict[str, str], module: Element, names: tuple[str, ...]) -> None:
    for child in module:
        if child.tag in names and child.text and len(child) == 0:
            found.setdefault(child.tag, child.text.strip())


class _Legs:
    """Makes records of elements; what the source settles is read once."""

    def __init__(self, source: SourceConfig) -> None:
        self._element = source.element
        self._service = source.service_type or "voice"
        self._tenant = source.tenant

    def record(self, position: int, values: dict[str, str]) -> tuple[Any, ...]:
        """Return one leg as a tuple of `_COLUMNS`.

        Raises:
            Refusal: an element is missing or has not its form.
        """
        get = values.get
        for name in ("eventCounter", "date", "startTime"):
            if not get(name):
                raise Refusal(RejectReason.MISSING_FIELD, name)
        _time_us(values, "date")
        start, answer = _time_us(values, "startTime"), _time_us(values, "answerTime")
        end = _time_us(values, "releaseTime")
        if end is None:
            raise Refusal(RejectReason.UNSUPPORTED, "releaseTime")
        if start is None or end < start or (answer is not None and end < answer):
            raise Refusal(RejectReason.BAD_TIME, "releaseTime")
        originating = get("direction") == "Originating"
        called = get("calledNumber") or None
        dialled = get("originalCalledNumber") or get("redirectingNumber")
        forwarded = called if dialled and dialled != called else None
        dialled = dialled or (get("dialedDigits") if originating else None)
        cause = get("terminationCause", "").lstrip("0")
        answered = get("answerIndicator", "").startswith("Yes") and answer is not None
        device, route = address_of(get("accessDeviceAddress")), get("route") or None
        trunk = get("trunkGroupName") or None
        record = (
            position,
            get("systemId") or self._element,
            f"{get('eventCounter')}/{get('date')}",
            self._service,
            get("callingNumber") or (get("userNumber") if originating else None) or None,
            called,
            dialled if dialled and dialled != called else None,
            forwarded,
            start,
            answer if answered else None,
            end,
            _offset_s(get("userTimeZone", "")),
            (end - answer) // 1000 if answered and answer is not None else 0,
            device if originating else None,
            None if originating else device,
            get("userAgent") or None if originating else None,
            "answered" if answered else WORDS.get(cause, "failed"),
            cause or None,
            trunk if originating else route,
            route if originating else trunk,
            get("extTrackingId") or get("networkCallID") or get("localCallId") or None,
            None if self._tenant else get("serviceProvider") or None,
            get("userId") or None,
        )
        _COLUMNS.check_texts(record)
        return record


def _time_us(values: dict[str, str], name: str) -> int | None:
    """Return µs since 1970 UTC of `YYYYMMDDhhmmss.mmm`; None where it is absent."""
    text = values.get(name)
    if not text:
        return None
    found = _STAMP.fullmatch(text)
    if found is None:
        raise Refusal(RejectReason.BAD_TIME, name)
    year, month, day, hour, minute, second, fraction = found.groups()
    date, clock = (int(year), int(month), int(day)), (int(hour), int(minute), int(second))
    wall = wall_time(date, clock, int((fraction or "0").ljust(6, "0")))
    if wall is None:
        raise Refusal(RejectReason.BAD_TIME, name)
    return epoch_us(wall, 0)


def _offset_s(text: str) -> int | None:
    """Return the offset of `1+020000`: whether summer time is on, then the offset in force as hhmmss."""
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    sign, hours, minutes, seconds = found.groups()
    offset = int(hours) * 3600 + int(minutes) * 60 + int(seconds or "0")
    return None if offset > 14 * 3600 else -offset if sign == "-" else offset
