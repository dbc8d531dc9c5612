"""A delivery of IPFIX: NAT sessions created and deleted, a message for every 30 events, as a device packs them."""

from __future__ import annotations

import ipaddress
import struct
from itertools import islice
from typing import Final

from bench.format_inputs import Call

_FIELDS: Final = ((230, 1), (323, 8), (8, 4), (225, 4), (7, 2), (227, 2), (12, 4), (11, 2), (4, 1))
_RECORD: Final = struct.Struct(">BQIIHHIHB")
_PUBLIC, _SERVER = int(ipaddress.IPv4Address("203.0.113.1")), int(ipaddress.IPv4Address("198.51.100.9"))
_EVENTS_A_MESSAGE: Final = 30


def ipfix_of(records: int, midnight: int) -> tuple[bytes, int]:
    """Return a delivery of about so many records of a day, and how many it has."""
    calls = max(1, records // 2)
    events = (event for number in range(calls) for event in _events(Call(number, midnight)))
    template = struct.pack(">HH", 256, len(_FIELDS)) + b"".join(struct.pack(">HH", *one) for one in _FIELDS)
    messages = [_message(0, 2, template, midnight)]
    sequence = 0
    while some := b"".join(islice(events, _EVENTS_A_MESSAGE)):
        messages.append(_message(sequence, 256, some, midnight))
        sequence += len(some) // _RECORD.size
    return b"".join(messages), calls * 2


def _events(call: Call) -> tuple[bytes, bytes]:
    source = int(ipaddress.IPv4Address(call.ip))
    port, public = 1024 + call.number % 60_000, 1024 + call.number // 7 % 60_000
    rest = (source, _PUBLIC, port, public, _SERVER, 443, 6)
    return _RECORD.pack(4, call.start * 1000, *rest), _RECORD.pack(5, call.end * 1000, *rest)


def _message(sequence: int, number: int, payload: bytes, export_s: int) -> bytes:
    return struct.pack(">HHIIIHH", 10, 20 + len(payload), export_s, sequence, 0, number, 4 + len(payload)) + payload
