"""Messages of IPFIX and NetFlow v9, written by the tests' own hand."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Any

EXPORT_S = 1_795_300_000
NAT44 = ((230, 1), (323, 8), (8, 4), (225, 4), (7, 2), (227, 2), (12, 4), (11, 2), (4, 1))
BLOCK = ((230, 1), (323, 8), (8, 4), (225, 4), (361, 2), (362, 2))
FIELDS = (NAT44, BLOCK)


def packed(value: Any, octets: int) -> bytes:
    if isinstance(value, bytes):
        return value if octets != 0xFFFF else bytes([len(value)]) + value
    if isinstance(value, str):
        return ipaddress.ip_address(value).packed
    return int(value).to_bytes(octets, "big")


def record(fields: Sequence[tuple[int, int]], values: Sequence[Any]) -> bytes:
    return b"".join(packed(value, octets) for (_, octets), value in zip(fields, values, strict=True))


def template(number: int, fields: Sequence[tuple[int, int]]) -> bytes:
    return struct.pack(">HH", number, len(fields)) + b"".join(struct.pack(">HH", *one) for one in fields)


def one_set(number: int, payload: bytes) -> bytes:
    return struct.pack(">HH", number, 4 + len(payload)) + payload


def ipfix(*sets: bytes, sequence: int = 0, domain: int = 0, export_s: int = EXPORT_S) -> bytes:
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(body), export_s, sequence, domain) + body


def netflow(*sets: bytes, sequence: int = 0, domain: int = 0, uptime_ms: int = 5_000_000) -> bytes:
    return struct.pack(">HHIIII", 9, len(sets), uptime_ms, EXPORT_S, sequence, domain) + b"".join(sets)


def nat44(event: int, at_ms: int, sport: int = 40_000, public: int = 2_000, inside: str = "100.64.0.2") -> bytes:
    values = (event, at_ms, inside, "203.0.113.1", sport, public, "198.51.100.9", 443, 6)
    return record(NAT44, values)


def block(event: int, at_ms: int, first: int = 1024, last: int = 2047, inside: str = "100.64.0.3") -> bytes:
    return record(BLOCK, (event, at_ms, inside, "203.0.113.7", first, last))
