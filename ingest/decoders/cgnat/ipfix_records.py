"""Records of NAT events as delivered columns: sessions, bindings and port blocks as they begin and end.

Records of one template are read together, field by field, as columns of octets.

Source: RFC 8158 (NAT events and their elements), IANA registry "IPFIX Information Elements".
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders.base import Event
from ingest.decoders.cgnat.ipfix_messages import V9, VARIABLE, DataSet, Header, Template, variable_records
from ingest.decoders.slices import Column, Faults, Flags, Ints, compute
from schemas.arrow import TIME_TYPE
from schemas.fields import VRF_MARK
from schemas.rejects import RejectReason

Octets = npt.NDArray[np.uint8]

NAT_EVENT, FIREWALL_EVENT = 230, 233
SESSION, BINDING, ADDRESS, BLOCK = "session", "binding", "address", "block"

KINDS: Final[dict[int, tuple[str, Event]]] = {
    1: (SESSION, Event.OPEN),  # historic numbers of the drafts, still written by many
    2: (SESSION, Event.CLOSE),
    4: (SESSION, Event.OPEN),
    5: (SESSION, Event.CLOSE),
    6: (SESSION, Event.OPEN),
    7: (SESSION, Event.CLOSE),
    8: (BINDING, Event.OPEN),
    9: (BINDING, Event.CLOSE),
    10: (BINDING, Event.OPEN),
    11: (BINDING, Event.CLOSE),
    14: (ADDRESS, Event.OPEN),
    15: (ADDRESS, Event.CLOSE),
    16: (BLOCK, Event.OPEN),
    17: (BLOCK, Event.CLOSE),
}
"""natEvent. The others (addresses or ports exhausted, quota, threshold) are alarms of the device: refused."""

TEXTS: Final = {371: "account", 455: "imsi", 456: "calling_number"}
MAC: Final = 56
_PORT_MAX: Final = 65_535
_TIME_US_MAX: Final = 253_402_300_800_000_000
_NTP_S: Final = 2_208_988_800
_OBSERVED: Final = (323, 324, 325, 322)
_STARTS: Final = (152, 154, 156, 150, 22)
_ENDS: Final = (153, 155, 157, 151, 21)
_MILLISECONDS: Final = {323, 152, 153}
_SECONDS: Final = {322, 150, 151}
_UPTIMES: Final = {21, 22}


class Records:
    """Records of one template of one stream."""

    def __init__(self, template: Template, header: Header, element: str) -> None:
        self.template, self._first = template, header
        self.switch = f"{element}/{header.domain}" if header.domain else element
        self._payloads: list[bytes] = []
        self._counts: list[int] = []
        self._headers: list[Header] = []
        self._positions: list[Ints] = []
        self.rows = 0

    def add(self, data: DataSet, position: int) -> tuple[int, bytes]:
        """Take the records of a set in, numbered from `position`; return how many, and the octets behind the last."""
        assert data.template is not None
        payload, template = data.payload, data.template
        if template.varies:
            ends = [0, *(end for end, _ in variable_records(template, payload))]
            number, used = len(ends) - 1, ends[-1]
        else:
            number = len(payload) // template.octets
            used = number * template.octets
        if number:
            self._payloads.append(payload[:used])
            self._counts.append(number)
            self.rows += number
            self._headers.append(data.header)
            self._positions.append(np.arange(position, position + number, dtype=np.int64))
        return number, payload[used:]

    def finish(self) -> tuple[pa.Table, Ints, Faults]:
        """Return the records as delivered columns (all rows), their positions, and which of them are refused."""

        self._octets: list[Octets | list[bytes]] = self._split()
        self._places: dict[int, int] = {}
        for place, spec in enumerate(self.template.fields):
            if spec.enterprise == 0:
                self._places.setdefault(spec.element, place)
        positions: Ints = np.concatenate(self._positions)
        faults = Faults(self.rows)
        return self._table(faults).append_column("position", pa.array(positions)), positions, faults

    def raw(self, row: int) -> bytes:
        """Return a message that holds the template and this record alone."""
        pieces = []
        for spec, field in zip(self.template.fields, self._octets, strict=True):
            value = bytes(field[row])
            if self.template.varies and spec.octets == VARIABLE:
                size = len(value)
                pieces.append(bytes([size]) if size < 0xFF else b"\xff" + size.to_bytes(2, "big"))
            pieces.append(value)
        number = int(np.searchsorted(np.cumsum(self._counts), row, side="right"))
        return message_of(self._headers[number], self.template, b"".join(pieces))

    def _split(self) -> list[Octets | list[bytes]]:
        """Return each field of all records, as rows of octets, or as bytes where sizes vary."""
        if not self.template.varies:
            all_octets = np.frombuffer(b"".join(self._payloads), np.uint8).reshape(-1, self.template.octets)
            ends = np.cumsum([spec.octets for spec in self.template.fields]).tolist()
            begins = [0, *ends[:-1]]
            return [all_octets[:, begin:end] for begin, end in zip(begins, ends, strict=True)]
        values: list[list[bytes]] = [[] for _ in self.template.fields]
        for payload in self._payloads:
            for _, spans in variable_records(self.template, payload):
                for column, (begin, end) in zip(values, spans, strict=True):
                    column.append(payload[begin:end])
        split: list[Octets | list[bytes]] = []
        for spec, column in zip(self.template.fields, values, strict=True):
            whole = np.frombuffer(b"".join(column), np.uint8)
            split.append(column if spec.octets == VARIABLE else whole.reshape(self.rows, spec.octets))
        return split

    def _field(self, element: int, *sizes: int) -> Octets | None:
        """Return a field of one of the given sizes, or None."""
        place = self._places.get(element)
        field = None if place is None else self._octets[place]
        return field if isinstance(field, np.ndarray) and (not sizes or field.shape[1] in sizes) else None

    def _number(self, element: int) -> Ints | None:
        """Return an unsigned number, which may take fewer octets than its type; beyond 63 bits it is negative."""
        field = self._field(element, 1, 2, 3, 4, 5, 6, 7, 8)
        if field is None:
            return None
        value: Ints = np.zeros(self.rows, np.int64)
        for octet in range(field.shape[1]):
            value = (value << 8) | field[:, octet]
        return value

    def _time_us(self, elements: Sequence[int]) -> tuple[Ints, Flags]:
        """Return the first time of several elements that is told, and whether any is."""
        time, told = np.zeros(self.rows, np.int64), np.zeros(self.rows, np.bool_)
        for element in elements:
            value = self._number(element)
            if value is None or told.all():
                continue
            own = self._moment_us(element, value)
            here = ~told & (value != 0)
            time[here], told = own[here], told | here
        return time, told

    def _moment_us(self, element: int, value: Ints) -> Ints:
        if element in _MILLISECONDS:
            return np.where((value >= 0) & (value < _TIME_US_MAX // 1000), value, -1) * 1000
        if element in _SECONDS:
            return np.where((value >= 0) & (value < _TIME_US_MAX // 1_000_000), value, -1) * 1_000_000
        if element in _UPTIMES:
            if self._first.protocol != V9:
                return np.full(self.rows, -1, np.int64)
            back_ms = (self._of_headers([one.uptime_ms for one in self._headers]) - value) & 0xFFFF_FFFF
            return self._of_headers([one.export_us for one in self._headers]) - back_ms * 1000
        seconds, fraction = (value >> 32) & 0xFFFF_FFFF, value & 0xFFFF_FFFF  # RFC 7011 §6.1.9: an NTP timestamp
        return (seconds - _NTP_S) * 1_000_000 + ((fraction * 1_000_000) >> 32)

    def _of_headers(self, values: Sequence[int]) -> Ints:
        return np.repeat(np.array(values, np.int64), self._counts)

    def _events(self, faults: Faults) -> tuple[Column, Flags, Flags]:
        """Return the kind of each record, and which begin and which end."""
        number = self._number(NAT_EVENT)
        if number is None:
            number = self._number(FIREWALL_EVENT)  # Cisco ASA: 1 and 2 mean the same there
            number = None if number is None else np.where(number <= 2, number, 0)
        if number is None:
            number = np.zeros(self.rows, np.int64)
        known = np.clip(number, 0, 255)
        kinds: list[str] = ["-"] * 256
        opens, closes = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
        for code, (kind, event) in KINDS.items():
            kinds[code] = kind
            opens[code], closes[code] = event is Event.OPEN, event is Event.CLOSE
        faults.add(~(opens[known] | closes[known]), RejectReason.UNSUPPORTED)
        block = self._number(361)
        texts = compute.take(pa.array(kinds), pa.array(known))
        if block is not None and self._number(11) is None:  # a block that is told by the historic numbers
            old = pa.array((known <= 2) & (block > 0))
            texts = compute.if_else(old, BLOCK, texts)
        return texts, opens[known], closes[known]

    def _table(self, faults: Faults) -> pa.Table:
        kind, opens, closes = self._events(faults)
        observed, told = self._time_us(_OBSERVED)
        begun, begin_told = self._time_us(_STARTS)
        ended, end_told = self._time_us(_ENDS)
        at = np.where(told, observed, np.where(opens & begin_told, begun, np.where(closes & end_told, ended, 0)))
        untold = ~told & ~(opens & begin_told) & ~(closes & end_told)
        at = np.where(untold, self._of_headers([one.export_us for one in self._headers]), at)
        absurd = (at < 0) | (at >= _TIME_US_MAX)
        starts_known = closes & begin_told
        absurd |= starts_known & ((begun < 0) | (begun > at))
        faults.add(absurd, RejectReason.BAD_TIME, "start_time")
        at, begun = np.where(absurd, 0, at), np.where(absurd, 0, begun)
        start = np.where(opens, at, begun)
        ports = {name: self._number(element) for name, element in (("source", 7), ("destination", 11), ("nat", 227))}
        first, last = self._block(ports["nat"], faults)
        addresses = self._addresses(faults)
        key = self._key(kind, addresses, ports, first)
        letters = compute.if_else(pa.array(closes), "d", "n")
        columns: dict[str, Column] = {
            "event": compute.if_else(pa.array(closes), Event.CLOSE.value, Event.OPEN.value),
            "session_key": _joined(pa.repeat(self.switch, self.rows), key),
            "record_key": _joined(letters, key, pa.array(at).cast(pa.string())),
            "switch": self._elements(),
            "service_type": pa.repeat("nat", self.rows),
            "start_time": _time(start, opens | starts_known),
            "end_time": _time(at, closes),
            "source_port": _small(ports["source"], self.rows),
            "destination_port": _small(ports["destination"], self.rows),
            "nat_port_first": first,
            "nat_port_last": last,
            "volume_up_bytes": self._volume(231, 1),
            "volume_down_bytes": self._volume(232),
            "disposition": pa.array(np.where(closes, "closed", ""), pa.string()),
        }
        columns["disposition"] = compute.if_else(pa.array(closes), columns["disposition"], pa.scalar(None, pa.string()))
        return pa.table({**columns, **addresses, **self._texts()})

    def _addresses(self, faults: Faults) -> dict[str, Column]:
        """Return the addresses: IPv4 packed, IPv6 as text beside it. Source and public address must be there."""
        found: dict[str, Column] = {}
        for name, four, six in (("source_ip", 8, 27), ("destination_ip", 12, 28), ("nat_ip", 225, 281)):
            packed, text = self._number(four) if self._field(four, 4) is not None else None, self._field(six, 16)
            if packed is None and text is None:
                if name != "destination_ip":
                    faults.add(np.ones(self.rows, np.bool_), RejectReason.MISSING_FIELD, name)
                continue
            unset = np.ones(self.rows, np.bool_) if packed is None else packed == 0
            values = np.zeros(self.rows, np.uint32) if packed is None else packed.astype(np.uint32)
            found[name] = pa.array(values, pa.uint32(), mask=unset)
            if text is not None:
                written = [None if not any(one) else str(ipaddress.IPv6Address(bytes(one))) for one in text]
                found[name + "_text"] = pa.array(written, pa.string())
                unset = unset & np.array([one is None for one in written], np.bool_)
            if name != "destination_ip":
                faults.add(unset, RejectReason.MISSING_FIELD, name)
        return found

    def _block(self, port: Ints | None, faults: Faults) -> tuple[Column, Column]:
        """Return the first and last public port; null where the whole address was given."""
        first, last = self._number(361), self._number(362)
        step, size = self._number(363), self._number(364)
        if first is None:
            return _small(port, self.rows), _small(port, self.rows)
        if last is None:
            ports = np.ones(self.rows, np.int64) if size is None else size
            last = first + (ports - 1) * (1 if step is None else np.maximum(step, 1))
        wrong = (last < first) | (last > _PORT_MAX) | (first < 0)
        faults.add(wrong, RejectReason.BAD_FIELD, "nat_port_last")
        low, high = _small(np.where(wrong, 0, first), self.rows), _small(np.where(wrong, 0, last), self.rows)
        if port is not None:  # both in one template: the block where it is told
            single, own = pa.array((first == 0) & (last == 0)), _small(port, self.rows)
            low, high = compute.if_else(single, own, low), compute.if_else(single, own, high)
        return low, high

    def _key(self, kind: Column, addresses: dict[str, Column], ports: dict[str, Ints | None], first: Column) -> Column:
        """Return what makes one translation: both events of it tell the same."""
        nothing = pa.nulls(self.rows, pa.string())
        block = compute.is_in(kind, pa.array([BLOCK, ADDRESS]))

        def single(values: Column) -> Column:
            return compute.if_else(block, nothing, values)

        def address(name: str) -> Column:
            columns = [addresses[one] for one in (name, name + "_text") if one in addresses]
            return compute.coalesce(nothing, *(column.cast(pa.string()) for column in columns))

        def number(values: Ints | None) -> Column:
            return nothing if values is None else pa.array(values).cast(pa.string())

        return _joined(
            kind,
            number(self._number(234)),
            single(number(self._number(4))),
            address("source_ip"),
            single(number(ports["source"])),
            address("nat_ip"),
            first.cast(pa.string()),
            single(address("destination_ip")),
            single(number(ports["destination"])),
        )

    def _elements(self) -> Column:
        """Return the network element of each record, with its VRF, where that is not the first."""
        vrf, plain = self._number(234), pa.repeat(self.switch, self.rows)
        if vrf is None or not (vrf > 0).any():
            return plain
        marked = compute.binary_join_element_wise(plain, pa.array(vrf).cast(pa.string()), VRF_MARK)
        return compute.if_else(pa.array(vrf > 0), marked, plain)

    def _volume(self, *elements: int) -> Column:
        for element in elements:
            value = self._number(element)
            if value is not None:
                return pa.array(value, mask=value < 0)
        return pa.nulls(self.rows, pa.int64())

    def _texts(self) -> dict[str, Column]:
        found: dict[str, Column] = {}
        for element, name in TEXTS.items():
            place = self._places.get(element)
            if place is not None:
                found[name] = pa.array([_text(bytes(one)) for one in self._octets[place]], pa.string())
        field = self._field(MAC, 6)
        if field is not None:
            found["mac"] = pa.array([bytes(one).hex(":") if any(one) else None for one in field], pa.string())
        return found


def message_of(header: Header, template: Template | None, payload: bytes, set_id: int = 0) -> bytes:
    """Return a message of the template (if any) and one set of data."""
    sets = []
    if template is not None:
        v9_id = 1 if template.options else 0
        sets.append(_set_of(v9_id if header.protocol == V9 else v9_id + 2, template.told))
        set_id = template.template_id
    sets.append(_set_of(set_id, payload))
    body = b"".join(sets)
    if header.protocol == V9:
        return header.octets[:2] + struct.pack(">H", len(sets)) + header.octets[4:] + body
    return header.octets[:2] + struct.pack(">H", 16 + len(body)) + header.octets[4:] + body


def _set_of(set_id: int, payload: bytes) -> bytes:
    return struct.pack(">HH", set_id, 4 + len(payload)) + payload


def _text(octets: bytes) -> str | None:
    try:
        text = octets.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None


def _small(values: Ints | None, rows: int) -> Column:
    """Return ports, null where they are zero or no port."""
    if values is None:
        return pa.nulls(rows, pa.int32())
    bad = (values <= 0) | (values > _PORT_MAX)
    return pa.array(np.where(bad, 0, values).astype(np.int32), mask=bad)


def _time(values: Ints, told: Flags) -> Column:
    return pa.array(values, mask=~told).cast(TIME_TYPE)


def _joined(*parts: Column) -> Column:
    return compute.binary_join_element_wise(*parts, " ", null_handling="replace", null_replacement="-")
