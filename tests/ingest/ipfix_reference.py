"""A slow reader of IPFIX files, octet by octet, written from RFC 7011 and RFC 8158 alone.

It reads what the generator of `test_ipfix_differential` writes: nothing of the product is used.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

OPENS = {1, 4, 6, 8, 10, 14, 16}
CLOSES = {2, 5, 7, 9, 11, 15, 17}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Field = tuple[int, int, int]
"""Enterprise, element, size."""


@dataclass
class Read:
    """What a file holds: events, and reasons of refusals."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass
class _State:
    templates: dict[tuple[int, int], tuple[bool, list[Field]]] = field(default_factory=dict)
    waiting: list[tuple[int, int, int, bytes]] = field(default_factory=list)


class _Octets:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise EOFError
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return sum(octet << 8 * place for place, octet in enumerate(reversed(self.take(size))))

    @property
    def left(self) -> int:
        return len(self.data) - self.at


def read(data: bytes, name: str) -> Read:
    """Read a file of messages one behind the other (RFC 5655)."""
    found, state, file = Read(), _State(), _Octets(data)
    while file.left:
        assert file.number(2) == 10
        size, export_s, _, domain = file.number(2), file.number(4), file.number(4), file.number(4)
        _message(_Octets(file.take(size - 16)), export_s, domain, (found, state, name))
    found.refused += ["missing-field"] * len(state.waiting)
    return found


def _message(body: _Octets, export_s: int, domain: int, into: tuple[Read, _State, str]) -> None:
    _, state, _ = into
    while body.left:
        set_id, size = body.number(2), body.number(2)
        content = body.take(size - 4)
        if set_id in (2, 3):
            _templates(_Octets(content), domain, set_id == 3, state)
            for one in [each for each in state.waiting if (each[0], each[2]) in state.templates]:
                state.waiting.remove(one)
                _data(*one, into)
        elif (domain, set_id) in state.templates:
            _data(domain, export_s, set_id, content, into)
        else:
            state.waiting.append((domain, export_s, set_id, content))


def _templates(content: _Octets, domain: int, options: bool, state: _State) -> None:
    while content.left >= 4:
        template_id, count = content.number(2), content.number(2)
        if template_id == 0:
            return  # padding
        if count == 0:
            for key in [key for key, (kind, _) in state.templates.items() if key[0] == domain and kind == options]:
                if template_id in (2, 3, key[1]):
                    del state.templates[key]
            continue
        if options:
            content.number(2)
        fields: list[Field] = []
        for _ in range(count):
            element, size = content.number(2), content.number(2)
            fields.append((content.number(4) if element & 0x8000 else 0, element & 0x7FFF, size))
        state.templates[domain, template_id] = options, fields


def _data(domain: int, export_s: int, set_id: int, content: bytes, into: tuple[Read, _State, str]) -> None:
    found, state, name = into
    options, fields = state.templates[domain, set_id]
    octets = _Octets(content)
    least = sum(1 if size == 0xFFFF else size for _, _, size in fields)
    while octets.left >= least:
        values: dict[int, bytes] = {}
        for enterprise, element, told in fields:
            size = told
            if told == 0xFFFF:
                size = octets.number(1)
                size = octets.number(2) if size == 0xFF else size
            value = octets.take(size)
            if enterprise == 0:
                values.setdefault(element, value)
        if not options:
            _record(values, f"{name}/{domain}" if domain else name, export_s, found)


def _record(values: dict[int, bytes], switch: str, export_s: int, found: Read) -> None:
    event = _number(values, 230)
    if event not in OPENS | CLOSES:
        found.refused.append("unsupported")
        return
    if _number(values, 234):
        switch += f"/vrf{_number(values, 234)}"
    row: dict[str, Any] = {"switch": switch, "event": "open" if event in OPENS else "close"}
    first, last = _number(values, 361), _number(values, 362 if 362 in values else 361)
    if 361 not in values:
        first = last = _number(values, 227)
    elif last < first:
        found.refused.append("bad-field")
        return
    elif first == last == 0 and 227 in values:
        first = last = _number(values, 227)
    for where, four, six in (("source_ip", 8, 27), ("nat_ip", 225, 281), ("destination_ip", 12, 28)):
        for element in (four, six):
            if any(values.get(element, b"")) and where not in row:
                row[where] = str(ipaddress.ip_address(values[element]))
    if not {"source_ip", "nat_ip"} <= row.keys():
        found.refused.append("missing-field")
        return
    ports = {"source_port": _number(values, 7), "destination_port": _number(values, 11)}
    ports |= {"nat_port_first": first, "nat_port_last": last}
    row |= {where: port for where, port in ports.items() if port}
    at = EPOCH + timedelta(seconds=export_s)
    for element, unit in ((322, 1000), (323, 1)):
        if element in values:
            at = EPOCH + timedelta(milliseconds=_number(values, element) * unit)
    row["start_time" if event in OPENS else "end_time"] = at
    for element in (1, 231):  # what the initiator sent, else what the flow's one direction sent
        if element in values:
            row["volume_up_bytes"] = _number(values, element)
    if any(values.get(371, b"")):
        row["account"] = values[371].rstrip(b"\0").decode()
    if any(values.get(56, b"")):
        row["mac"] = values[56].hex(":")
    found.rows.append(row)


def _number(values: dict[int, bytes], element: int) -> int:
    return int.from_bytes(values.get(element, b""), "big")
