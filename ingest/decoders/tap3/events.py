"""Events of TAP3 as canonical records.

* The caller of a MobileOriginatedCall is the subscriber; the called party of a MobileTerminatedCall is.
* Teleservices 21 and 22 are short messages, and begin and end at their one time.
* `switch` is the partner's code and the recording entity, since call references are counted per entity.
* Incoming octets of a GprsCall are those to the user.

Source: GSMA TD.57 (TAP 3.12), data dictionary; tags by its ASN.1. The service codes of MessagingEvent and MobileSession
(odd originated, even terminated) are from practice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.ber import values as ber_values
from ingest.decoders.ber.elements import DEPTH_MAX, definite
from ingest.decoders.ber.identifiers import alike, first_told, identifiers
from ingest.decoders.ber.values import Times
from ingest.decoders.ber.walk import APPLICATION, Fields, Level, compiled, headers, padded, slots_of, walk
from ingest.decoders.tap3.partner import Partner
from ingest.decoders.threegpp import text as threegpp_text
from ingest.decoders.threegpp.columns import Columns, Key, Readers, first_of, later
from ingest.decoders.threegpp.tables import Family, RecordType
from schemas.buffers import Bytes, Column, Ints, Mask, pc
from schemas.rejects import Reject, RejectReason

_SMS_SERVICES: Final = frozenset({"21", "22"})
_DISPOSITIONS: Final = ("answered", "failed", "sent", "received", "closed")
_ANSWERED, _FAILED, _SENT, _RECEIVED, _CLOSED = range(5)
_UNSUCCESSFUL: Final = 3


def _level(names: dict[int, str | Level]) -> Level:
    return Level({APPLICATION | tag: what for tag, what in names.items()})


_STAMP: Final = _level({16: "start", 232: "offset_code"})
_SUBSCRIBER: Final = _level({199: _level({129: "imsi", 152: "msisdn"})})
_PLACE: Final = _level(
    {156: _level({184: "entity", 45: "reference", 136: "area", 59: "cell"}), 113: _level({195: "serving"})}
)
_EQUIPMENT: Final = _level({128: "imei"})
_SERVICE: Final = Level({APPLICATION | 39: _level({36: _level({426: _level({218: "service"})})})}, first=True)
_ORIGINATED: Final = _level(
    {
        147: _level(
            {
                427: _SUBSCRIBER,
                89: _level({407: "called", 279: "dialled", 419: "message_to"}),
                44: _STAMP,
                223: "duration",
                58: "cause",
            }
        ),
        138: _PLACE,
        429: _EQUIPMENT,
        38: _SERVICE,
        219: _level({403: "third"}),
    }
)
_TERMINATED: Final = _level(
    {
        153: _level(
            {
                427: _SUBSCRIBER,
                41: _level({405: "calling", 425: "message_from"}),
                44: _STAMP,
                223: "duration",
                58: "cause",
            }
        ),
        138: _PLACE,
        429: _EQUIPMENT,
        38: _SERVICE,
    }
)
_GPRS: Final = _level(
    {
        114: _level(
            {
                115: _level({427: _SUBSCRIBER, 167: "address"}),
                116: _level({261: "apn"}),
                44: _STAMP,
                223: "duration",
                58: "cause",
                166: "partial",
                72: "charging",
            }
        ),
        117: _level({118: _level({185: Level({APPLICATION | 184: "entity"}, first=True), 136: "area", 59: "cell"})}),
        429: _EQUIPMENT,
        121: _level({250: "incoming", 251: "outgoing"}),
    }
)
_CHARGED: Final = _level({129: "imsi", 152: "msisdn", 446: "user", 128: "imei"})
_OTHER: Final = _level({444: "other", 445: "other_user"})
_SESSION_LEVELS: Final[dict[int, str | Level]] = {
    436: _CHARGED,
    443: _OTHER,
    435: "reference",
    185: Level({APPLICATION | 184: "entity"}, first=True),
    136: "area",
    59: "cell",
    447: _STAMP,
}
_MESSAGING: Final = _level({**_SESSION_LEVELS, 439: "service_code"})
_SESSION: Final = _level(
    {
        **_SESSION_LEVELS,
        440: "service_code",
        58: "cause",
        223: "duration",
        450: _level({451: "requested", 452: "requested_user"}),
    }
)

EVENT_TYPES: Final = (
    RecordType("MobileOriginatedCall", 9, 9, Family.CALL, "to", _ORIGINATED),
    RecordType("MobileTerminatedCall", 10, 10, Family.CALL, "tt", _TERMINATED, called=True),
    RecordType("GprsCall", 14, 14, Family.DATA, "tg", _GPRS),
    RecordType("MessagingEvent", 433, 433, Family.MESSAGE, "tm", _MESSAGING),
    RecordType("MobileSession", 434, 434, Family.IMS, "ts", _SESSION),
)
_UNKNOWN: Final = len(EVENT_TYPES)
_BY_TAG: Final = slots_of([APPLICATION | one.choice for one in EVENT_TYPES])
_OPEN: Final = 0x80  # a length octet
_CONTENT: Final = APPLICATION | 17  # ContentTransaction: what was bought may be in it


def decode_events(
    data: bytes,
    starts: Ints,
    ends: Ints,
    first_position: int,
    offset: int,
    partner: Partner,
    readers: Readers,
) -> Iterator[Decoded]:
    """Yield events type by type, then the refused ones; `starts` and `ends` are places in `data`."""
    octets, begins, stops, whole = _made_definite(data, starts, ends)
    outer = headers(octets, begins)
    faults: list[tuple[int, RejectReason, str | None]] = []
    damaged = ~whole | outer.bad | (outer.values + outer.lengths != stops)
    types = np.where(damaged, -1, _BY_TAG[outer.tags])
    faults += [(index, RejectReason.MALFORMED, None) for index in np.flatnonzero(damaged).tolist()]
    faults += [(index, RejectReason.UNSUPPORTED, None) for index in np.flatnonzero(types == _UNKNOWN).tolist()]

    def raw_of(positions: Any) -> list[bytes | None]:
        rows = [position - first_position for position in positions]
        raws = [data[starts[row] : ends[row]] for row in rows]
        tags = outer.tags[rows].tolist()
        return [None if tag == _CONTENT else partner.alone(raw) for tag, raw in zip(tags, raws, strict=True)]

    for index, kind in enumerate(EVENT_TYPES):
        rows = np.flatnonzero(types == index)
        if not len(rows):
            continue
        fields = walk(octets, outer.values[rows], stops[rows], kind.fields)
        work = _Event(octets, fields, kind, readers, partner)
        work.make()
        work.faults.add(fields.bad | fields.indefinite, RejectReason.MALFORMED)
        table = work.table(rows + first_position, np.zeros(len(rows), np.bool_))
        yield Decoded(table, (), raw_of)
        faults += [(int(rows[row]), reason, field) for row, reason, field in work.faults.found()]
    rejects = []
    for row, reason, field in faults:
        position, start, end = first_position + row, int(starts[row]), int(ends[row])
        rejects.append(Reject(position, reason, field, offset + start, end - start, raw_of([position])[0]))
    if rejects:
        yield Decoded(pa.table({"position": pa.array([], pa.int64())}), rejects, raw_of)


def _made_definite(data: bytes, starts: Ints, ends: Ints) -> tuple[Bytes, Ints, Ints, Mask]:
    """Return octets in which no event has an indefinite length anywhere, where they are, and which are whole.

    Events that have one are rewritten behind the others. In a definite one the octet 0x80 may mean anything.
    """
    octets = padded(data)
    places = np.flatnonzero(octets == _OPEN)
    rows = np.searchsorted(starts, places, side="right") - 1
    held = rows[(rows >= 0) & (places < ends[rows])]
    asked = held[np.append(True, held[1:] != held[:-1])[: len(held)]]
    good, told = np.ones(len(starts), np.bool_), np.zeros(len(asked), np.uint8)
    kernels = compiled(len(data))
    if kernels is not None:
        kernels.find_definite(octets, starts[asked], ends[asked], np.empty(DEPTH_MAX, np.int64), told)
    good[asked] = told
    pieces, size = [data], len(data)
    begins, stops, whole = starts.copy(), ends.copy(), np.ones(len(starts), np.bool_)
    for row in np.flatnonzero(~good).tolist():
        made = definite(data[starts[row] : ends[row]]) or b""
        pieces.append(made or b"\0\0")
        begins[row], whole[row] = size, bool(made)
        size += len(pieces[-1])
        stops[row] = size
    return padded(b"".join(pieces)) if len(pieces) > 1 else octets, begins, stops, whole


class _Event(Columns):
    """Events of one type in one stretch."""

    def __init__(self, data: Bytes, fields: Fields, kind: RecordType, readers: Readers, partner: Partner) -> None:
        super().__init__(data, fields, kind, readers)
        self.partner = partner

    def make(self) -> None:
        """Make the columns."""
        start = self.local_times()
        duration = self.seconds("duration", "duration_ms")
        message = self._messages()
        self._service(message)
        end = first_of(later(start, duration), start)
        end = end._replace(values_us=np.where(message, start.values_us, end.values_us))
        self.span_of_time(start, end, ~message)
        answered = Times(start.values_us, start.offsets_s, start.present & ~message, start.bad)
        if self.kind.family is not Family.DATA:
            self.keep(
                "answer_time", pa.array(answered.values_us, mask=~answered.present).view(pa.timestamp("us", "UTC"))
            )
        timed = pa.array(duration.values * 1000, mask=~duration.present | message)
        self.keep("duration_ms", timed)
        self.keep("billable_duration_ms", timed)
        self._disposition(message)
        self._parties()
        self._place()
        if self.kind.family is Family.DATA:
            self._data()
        self._identity(start)

    def local_times(self) -> Times:
        """Return the start: `CCYYMMDDhhmmss` in local time, with an offset by code. Source: TD.57 (LocalTimeStamp)."""
        span, code = self.fields["start"], self.integers("offset_code", "start_time")
        digits = ber_values.lane(self.data, np.maximum(span.starts, 0), 16)[:, :14] - np.uint8(0x30)
        bad = (span.lengths != 14) | (digits > 9).any(axis=1)
        pairs = digits[:, ::2] * np.uint8(10) + digits[:, 1::2]  # of a bad one anything
        clock = pairs[:, 1:].T.astype(np.int64)
        bad |= pairs[:, 0] != 20
        distinct, which = np.unique(code.values, return_inverse=True)
        known = np.array([value in self.partner.offsets_s for value in distinct.tolist()], np.bool_)[which]
        offsets = np.array([self.partner.offsets_s.get(value, 0) for value in distinct.tolist()], np.int64)[which]
        self.faults.add(span.present & ~(known & code.present), RejectReason.BAD_TIME, "utc_offset_s")
        times = ber_values.instants(clock, offsets, span.present, bad)
        self.faults.add(times.bad, RejectReason.BAD_TIME, "start_time")
        return times

    def _messages(self) -> Mask:
        if self.kind.family is Family.MESSAGE:
            return np.ones(self.rows, np.bool_)
        if self.kind.family is not Family.CALL:
            return np.zeros(self.rows, np.bool_)
        service = self.labels("service", "service_type", threegpp_text.label)
        return np.asarray(pc.fill_null(pc.is_in(service.cast(pa.string()), pa.array(sorted(_SMS_SERVICES))), False))

    def _service(self, message: Mask) -> None:
        own = self.readers.source.service_type
        word = {Family.DATA: "data", Family.IMS: "voip"}.get(self.kind.family, "voice")
        self.words("service_type", message.astype(np.int64), [own or word, own or "sms"])

    def _disposition(self, message: Mask) -> None:
        cause = self.integers("cause", "cause")
        called = self._terminated()
        codes = np.where(cause.present & (cause.values == _UNSUCCESSFUL), _FAILED, _ANSWERED)
        codes = np.where(message, np.where(called, _RECEIVED, _SENT), codes)
        if self.kind.family is Family.DATA:
            codes[:] = _CLOSED
        self.words("disposition", codes, _DISPOSITIONS)
        self.keep("cause", self.labels("cause", "cause", threegpp_text.integer))

    def _terminated(self) -> Mask:
        """Tell where the subscriber is the called party."""
        if "service_code" not in self.fields.spans:
            return np.full(self.rows, self.kind.called)
        code = self.integers("service_code", "service_type")
        asked = self.fields["requested"].present | self.fields["requested_user"].present
        return np.asarray(code.present & (code.values % 2 == 0) & ~asked)

    def _bcd(self, name: str, field: str) -> Column:
        """Return a BCDString, packed if all are digits."""
        span = self.fields[name]
        if not span.present.any():
            return pa.nulls(self.rows, pa.string())
        found = identifiers(self.data, span, high_first=True)
        if found is not None:
            column, bad = found.column, found.bad
        else:
            chars, bad = ber_values.digit_chars(self.data, span, high_first=True)
            column = ber_values.strings(chars, chars[:, 0] == 0)
        self.faults.add(bad, RejectReason.BAD_FIELD, field)
        return column

    def _parties(self) -> None:
        called = self._terminated()
        own = first_told(self._bcd("msisdn", "calling_number"), self.texts("user", "calling_number"))
        other = first_told(
            self._bcd("called", "called_number"),
            self._bcd("calling", "calling_number"),
            *(self._bcd(name, "called_number") for name in ("other", "requested")),
            *(
                self.texts(name, "called_number")
                for name in ("message_to", "message_from", "other_user", "requested_user")
            ),
        )
        dialled = self.texts("dialled", "dialled_number")
        if dialled.null_count < self.rows:
            other = first_told(other, dialled)
            self.keep("dialled_number", pc.if_else(pc.equal(other, dialled), pa.scalar(None, pa.string()), dialled))
        own, other = alike(own, other)
        mask = pa.array(called)
        self.keep("calling_number", pc.if_else(mask, other, own))
        self.keep("called_number", pc.if_else(mask, own, other))
        self.keep("forwarded_number", self._bcd("third", "forwarded_number"))
        for name, column in (("imsi", self._bcd("imsi", "imsi")), ("imei", self._bcd("imei", "imei"))):
            nothing = pa.nulls(self.rows, column.type)
            self.keep(name, pc.if_else(mask, nothing, column))
            self.keep("called_" + name, pc.if_else(mask, column, nothing))

    def _place(self) -> None:
        area, cell = self.integers("area", "cell_id"), self.integers("cell", "cell_id")
        kind = pa.int64()
        pair = pc.binary_join_element_wise(
            area.column(kind).cast(pa.string()), cell.column(kind).cast(pa.string()), "-"
        )
        self.keep("cell_id", pair)

    def _data(self) -> None:
        address = self.texts("address", "source_ip")
        self.keep("source_ip", address)
        self.keep("trunk_out", self.labels("apn", "trunk_out", threegpp_text.label))
        incoming, outgoing = (
            self.integers(name, f"volume_{way}_bytes") for name, way in (("incoming", "down"), ("outgoing", "up"))
        )
        self.keep("volume_down_bytes", incoming.column(pa.int64()))
        self.keep("volume_up_bytes", outgoing.column(pa.int64()))

    def _identity(self, start: Times) -> None:
        codes = self.integers("entity", "switch")
        sender = self.partner.sender or self.readers.source.element
        distinct, which = np.unique(np.where(codes.present, codes.values, -1), return_inverse=True)
        names = [(code, self.partner.entities.get(code, code)) for code in distinct.tolist()]
        named = [f"{sender}/{name}" if code >= 0 else sender for code, name in names]
        self.made["switch"] = pa.array(named, pa.string()).take(which)
        key = Key(self.rows, self.kind.letters)
        key.octets(self.data, self.fields["imsi"])
        key.time(start)
        key.literal(".")
        key.octets(self.data, self.fields["reference"])
        charging = self.integers("charging", "record_key")
        key.number(charging.values, charging.present)
        key.literal(".")
        key.octets(self.data, self.fields["partial"])
        self.made["record_key"] = key.column()
        if charging.present.any():
            self.keep("call_link", charging.column(pa.int64()).cast(pa.string()))
