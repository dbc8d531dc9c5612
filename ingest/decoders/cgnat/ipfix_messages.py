"""Messages of IPFIX and NetFlow v9: sets, templates by exporter and domain, sequence numbers.

`Exporters` remembers what exporters said: templates (replaced, withdrawn), sets that came before their template, the
sequence numbers (`ingest.decoders.cgnat.sequences`). Its memory is bounded, whatever comes. What cannot be read is
told, never skipped.

Source: RFC 7011 §3 (messages, sets, templates), §8 (template management); RFC 3954 §5 (NetFlow v9).
"""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingest.decoders.cgnat.sequences import Sequences, Stream

V9: Final = 9
IPFIX: Final = 10
HEADER_OCTETS: Final = {V9: 20, IPFIX: 16}
MESSAGE_OCTETS_MAX: Final = 0xFFFF
TEMPLATES_MAX: Final = 4096
"""Templates that are remembered, of all exporters together; the one that was told longest ago goes first."""
TEMPLATE_FIELDS_MAX: Final = 512
WAITING_OCTETS_MAX: Final = 4 << 20
"""Sets without a template that are kept until it comes; the oldest is given up first."""
VARIABLE: Final = 0xFFFF
DATA_SET_MIN: Final = 256
_SET: Final = struct.Struct(">HH")
_IPFIX_HEADER: Final = struct.Struct(">HHIII")
_V9_HEADER: Final = struct.Struct(">HHIIII")
_TEMPLATE_SETS: Final = {(V9, 0): False, (V9, 1): True, (IPFIX, 2): False, (IPFIX, 3): True}


class FieldSpec(NamedTuple):
    """One field of a template; `octets` is `VARIABLE` where each record tells its own."""

    element: int
    enterprise: int
    octets: int


@dataclass(frozen=True, slots=True)
class Template:
    """What the records of a set look like."""

    template_id: int
    fields: tuple[FieldSpec, ...]
    options: bool
    told: bytes
    """The template record as it came."""
    octets: int
    """Size of a record; with fields of variable size, the least."""
    varies: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A message's header; times in µs and ms, as the exporter's clock says."""

    protocol: int
    exporter: str
    domain: int
    sequence: int
    export_us: int
    uptime_ms: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class DataSet:
    """Records of one set. With `template` None it is one refused piece: no template came, or it cannot be read."""

    header: Header
    template: Template | None
    set_id: int
    payload: bytes
    malformed: bool = False


@dataclass(slots=True)
class Exporters:
    """What is known of exporters. One per file, or per collector."""

    sequences: Sequences = field(default_factory=Sequences)
    """What their sequence numbers tell."""
    _templates: OrderedDict[tuple[Stream, int], Template] = field(default_factory=OrderedDict)
    _waiting: deque[DataSet] = field(default_factory=deque)
    _waiting_octets: int = 0

    def read(self, exporter: str, message: bytes) -> Iterator[DataSet]:
        """Yield the data of one message, and what waited for its templates.

        Sets of options data describe the exporter and are left out. A message that cannot be read is one malformed
        piece, a set that cannot be read is one with everything behind it.
        """
        header = read_header(exporter, message)
        if header is None:
            nobody = Header(IPFIX, exporter, 0, 0, 0, 0, b"")
            yield DataSet(nobody, None, 0, message, malformed=True)
            return
        stream = Stream(exporter, header.protocol, header.domain)
        at, counted = HEADER_OCTETS[header.protocol], 0
        known = True
        while at < len(message):
            set_id, octets = _SET.unpack_from(message, at) if at + 4 <= len(message) else (0, 0)
            reads_on = octets >= 4 and at + octets <= len(message)
            if not reads_on or (set_id < DATA_SET_MIN and (header.protocol, set_id) not in _TEMPLATE_SETS):
                known = False
                yield DataSet(header, None, set_id, message[at:], malformed=True)
                break
            payload = message[at + 4 : at + octets]
            at += octets
            if set_id < DATA_SET_MIN:
                options = _TEMPLATE_SETS[header.protocol, set_id]
                if not self._learn(stream, header, payload, options):
                    yield DataSet(header, None, set_id, payload, malformed=True)
                yield from self._released(stream)
                continue
            template = self._templates.get((stream, set_id))
            if template is None:
                known = False
                yield from self._wait(DataSet(header, None, set_id, payload))
                continue
            number = count_records(template, payload)
            counted += number
            if not template.options:
                yield DataSet(header, template, set_id, payload)
        step = 1 if header.protocol == V9 else counted if known else None
        self.sequences.follow(stream, header.sequence, step, header.export_us)

    def give_up(self) -> Iterator[DataSet]:
        """Yield the sets whose template never came."""
        while self._waiting:
            yield self._waiting.popleft()
        self._waiting_octets = 0

    @property
    def waiting_octets(self) -> int:
        """Octets that wait for their templates."""
        return self._waiting_octets

    def _learn(self, stream: Stream, header: Header, payload: bytes, options: bool) -> bool:
        """Take in the templates of a set; False when it cannot be read to its end."""
        at = 0
        while len(payload) - at >= 4:
            template_id, count = _SET.unpack_from(payload, at)
            if template_id == 0 and not any(payload[at:]):
                return True  # padding
            if header.protocol == IPFIX and count == 0:
                self._withdraw(stream, template_id, options)
                at += 4
                continue
            read = _template(header.protocol, payload, at, options)
            if read is None:
                return False
            template, at = read
            key = (stream, template.template_id)
            self._templates[key] = template
            self._templates.move_to_end(key)
            if len(self._templates) > TEMPLATES_MAX:
                self._templates.popitem(last=False)
        return not any(payload[at:])

    def _withdraw(self, stream: Stream, template_id: int, options: bool) -> None:
        """Forget a template, or all of a kind. Source: RFC 7011 §8.1."""
        if template_id >= DATA_SET_MIN:
            self._templates.pop((stream, template_id), None)
        elif (IPFIX, template_id) in _TEMPLATE_SETS:
            gone = [key for key, one in self._templates.items() if key[0] == stream and one.options == options]
            for key in gone:
                del self._templates[key]

    def _wait(self, data: DataSet) -> Iterator[DataSet]:
        self._waiting.append(data)
        self._waiting_octets += len(data.payload) + 64
        while self._waiting_octets > WAITING_OCTETS_MAX:
            oldest = self._waiting.popleft()
            self._waiting_octets -= len(oldest.payload) + 64
            yield oldest

    def _released(self, stream: Stream) -> Iterator[DataSet]:
        """Yield the sets that waited for a template that is known now."""
        if not self._waiting:
            return
        kept: deque[DataSet] = deque()
        for data in self._waiting:
            own = (data.header.exporter, data.header.protocol, data.header.domain)
            template = self._templates.get((own, data.set_id)) if own == stream else None
            if template is None:
                kept.append(data)
                continue
            self._waiting_octets -= len(data.payload) + 64
            if not template.options:
                yield DataSet(data.header, template, data.set_id, data.payload)
        self._waiting = kept


def read_header(exporter: str, message: bytes) -> Header | None:
    """Return a message's header, or None when it is none. `message` has exactly the message."""
    if len(message) < 4:
        return None
    protocol, number = _SET.unpack_from(message)
    if protocol not in HEADER_OCTETS or len(message) < HEADER_OCTETS[protocol]:
        return None
    octets = message[: HEADER_OCTETS[protocol]]
    if protocol == IPFIX:
        if number != len(message):
            return None
        _, _, export_s, sequence, domain = _IPFIX_HEADER.unpack(octets)
        return Header(IPFIX, exporter, domain, sequence, export_s * 1_000_000, 0, octets)
    _, _, uptime_ms, export_s, sequence, domain = _V9_HEADER.unpack(octets)
    return Header(V9, exporter, domain, sequence, export_s * 1_000_000, uptime_ms, octets)


def message_octets(data: bytes, at: int, *, last: bool) -> int | None:
    """Return the size of the message that begins at `at`; 0 when more bytes are needed, None when none begins there.

    A header of NetFlow v9 tells no size: its message ends where a set would have the reserved number 9 or 10, that is
    where the next message begins.
    """
    if len(data) - at < 4:
        return None if last else 0
    protocol, number = _SET.unpack_from(data, at)
    if protocol == IPFIX:
        if number < HEADER_OCTETS[IPFIX]:
            return None
        return number if at + number <= len(data) else None if last else 0
    if protocol != V9:
        return None
    end = at + HEADER_OCTETS[V9]
    while end - at <= MESSAGE_OCTETS_MAX:
        if end + 4 > len(data):
            if not last:
                return 0
            return end - at if end == len(data) else None
        set_id, octets = _SET.unpack_from(data, end)
        if set_id in HEADER_OCTETS:
            return end - at
        if octets < 4:
            return None
        end += octets
    return None


def count_records(template: Template, payload: bytes) -> int:
    """Return how many records of a template a set holds."""
    if not template.varies:
        return len(payload) // template.octets
    return sum(1 for _ in variable_records(template, payload))


def variable_records(template: Template, payload: bytes) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the end of each record of variable size, and where each of its fields begins and ends.

    What follows the last whole record is not told; `payload` is longer than the last end then.
    """
    at = 0
    while len(payload) - at >= template.octets:
        spans = []
        for spec in template.fields:
            size = spec.octets
            if size == VARIABLE:
                size, at = _variable_size(payload, at)
            spans.append((at, at + size))
            at += size
            if at > len(payload):
                return
        yield at, spans


def _variable_size(payload: bytes, at: int) -> tuple[int, int]:
    """Return a field's size and where its value begins. Source: RFC 7011 §7."""
    if at >= len(payload):
        return 1, at
    if payload[at] < 0xFF:
        return payload[at], at + 1
    return int.from_bytes(payload[at + 1 : at + 3], "big"), at + 3


def _template(protocol: int, payload: bytes, at: int, options: bool) -> tuple[Template, int] | None:
    """Return the template record that begins at `at` and where it ends; None when it is none."""
    begin = at
    template_id, count = _SET.unpack_from(payload, at)
    at += 4
    if options:
        if len(payload) - at < 2:
            return None
        if protocol == V9:  # sizes of scope and options in octets
            if len(payload) - at < 2:
                return None
            (second,) = struct.unpack_from(">H", payload, at)
            count = (count + second) // 4
        at += 2
    if template_id < DATA_SET_MIN or not 1 <= count <= TEMPLATE_FIELDS_MAX:
        return None
    fields = []
    for _ in range(count):
        if len(payload) - at < 4:
            return None
        element, octets = _SET.unpack_from(payload, at)
        at += 4
        enterprise = 0
        if protocol == IPFIX and element & 0x8000:
            if len(payload) - at < 4:
                return None
            (enterprise,) = struct.unpack_from(">I", payload, at)
            at += 4
        fields.append(FieldSpec(element & 0x7FFF if protocol == IPFIX else element, enterprise, octets))
    varies = protocol == IPFIX and any(spec.octets == VARIABLE for spec in fields)
    least = sum(1 if varies and spec.octets == VARIABLE else spec.octets for spec in fields)
    if least == 0:
        return None
    return Template(template_id, tuple(fields), options, payload[begin:at], least, varies), at
