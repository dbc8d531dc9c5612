"""BER deliveries, made like those of `bench.format_inputs`: calls of an MSC, bearers of a PGW, a partner's TAP batch.

Source: 3GPP TS 32.298 §5.1.2.1 and §5.1.2.2, TS 32.297 §6.1, GSMA TD.57 §5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from bench.format_inputs import Call

_CONTEXT: Final = 0x80
_APPLICATION: Final = 0x40
_SEQUENCE: Final = b"\x30"


def _length(size: int) -> bytes:
    if size < 128:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def _tlv(cls: int, number: int, content: bytes | list[bytes]) -> bytes:
    """Return an element; a list of elements makes it constructed."""
    body = content if isinstance(content, bytes) else b"".join(content)
    first = cls | (0 if isinstance(content, bytes) else 0x20)
    if number < 31:
        head = bytes((first | number,))
    elif number < 128:
        head = bytes((first | 31, number))
    else:
        head = bytes((first | 31, 0x80 | number >> 7, number & 0x7F))
    return head + _length(len(body)) + body


def _integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _swapped(digits: str) -> bytes:
    """Return TBCD: the low half octet comes first."""
    padded = digits + "f" * (len(digits) % 2)
    return bytes.fromhex("".join(padded[at + 1] + padded[at] for at in range(0, len(padded), 2)))


def _bcd(digits: str) -> bytes:
    return bytes.fromhex(digits + "f" * (len(digits) % 2))


def _stamp(seconds: int) -> bytes:
    return bytes.fromhex(f"{datetime.fromtimestamp(seconds, UTC):%y%m%d%H%M%S}") + b"+\0\0"


def _fields(choice: int, fields: dict[int, bytes | list[bytes]]) -> bytes:
    return _tlv(_CONTEXT, choice, [_tlv(_CONTEXT, tag, content) for tag, content in fields.items()])


def msc_call(call: Call) -> bytes:
    """Return an MOCallRecord."""
    return _fields(
        0,
        {
            0: b"\x00",
            1: _swapped(f"24001{call.called[:10]}"),
            2: _swapped(f"35663008{call.calling[-8:]}"),
            4: b"\x91" + _swapped(call.calling),
            5: b"\x91" + _swapped(call.called),
            9: b"\x91" + _swapped("46705000001"),
            10: [_tlv(_CONTEXT, 0, b"\x2c")],
            11: [_tlv(_CONTEXT, 1, b"SBC-NORTH")],
            12: [_tlv(_CONTEXT, 0, struct.pack(">H", call.number % 500)), _tlv(_CONTEXT, 1, b"\x56\x78")],
            22: _stamp(call.start),
            23: _stamp(call.answer),
            24: _stamp(call.end),
            25: _integer(call.end - call.answer),
            30: b"\x00",
            32: struct.pack(">I", call.number),
        },
    )


def pgw_bearer(call: Call) -> bytes:
    """Return a PGWRecord with two containers of volumes."""
    container = _tlv(_CONTEXT, 3, _integer(call.end - call.start)) + _tlv(_CONTEXT, 4, _integer(call.number * 7))
    lists = [_SEQUENCE + _length(len(container)) + container] * 2
    fields: dict[int, bytes | list[bytes]] = {
        0: b"\x55",
        3: _swapped(f"24001{call.called[:10]}"),
        4: [_tlv(_CONTEXT, 0, bytes((192, 0, 2, 9)))],
        5: _integer(call.number),
        6: [_tlv(_CONTEXT, 0, bytes((192, 0, 2, 77)))],
        7: b"internet",
        9: [_tlv(_CONTEXT, 0, [_tlv(_CONTEXT, 0, bytes(map(int, call.ip.split("."))))])],
        12: lists,
        13: _stamp(call.start),
        14: _integer(call.end - call.start),
        15: b"\x10",
        18: b"pgw-1",
        20: _integer(call.number),
        22: b"\x91" + _swapped(call.calling),
        29: _swapped(f"35663008{call.calling[-8:]}"),
    }
    return _fields(79, fields)


def _app(number: int, content: bytes | list[bytes]) -> bytes:
    return _tlv(_APPLICATION, number, content)


def tap_call(call: Call) -> bytes:
    """Return a MobileOriginatedCall."""
    stamp = _app(44, [_app(16, f"{datetime.fromtimestamp(call.start, UTC):%Y%m%d%H%M%S}".encode()), _app(232, b"\0")])
    subscriber = [_app(129, _bcd(f"24001{call.called[:10]}")), _app(152, _bcd(call.calling))]
    basic = [
        _app(427, [_app(199, subscriber)]),
        _app(89, [_app(407, _bcd(call.called))]),
        stamp,
        _app(223, _integer(call.end - call.start)),
        _app(58, b"\x00"),
    ]
    cell = [_app(184, b"\x03"), _app(45, struct.pack(">I", call.number)), _app(136, b"\x11"), _app(59, b"\x44")]
    equipment = _app(429, [_app(128, _bcd(f"35663008{call.calling[-8:]}"))])
    used = _app(38, [_app(39, [_app(36, [_app(426, [_app(218, b"11")])])])])
    return _app(9, [_app(147, basic), _app(138, [_app(156, cell)]), equipment, used])


def tap_batch(events: list[bytes]) -> bytes:
    """Return a TransferBatch."""
    control = [_app(196, b"FRAXX"), _app(182, b"SWEYY"), _app(109, b"00042"), _app(201, b"\x03"), _app(189, b"\x0c")]
    offsets = _app(234, [_app(233, [_app(232, b"\0"), _app(231, b"+0000")])])
    entity = _app(183, [_app(184, b"\x03"), _app(186, b"\x01"), _app(400, b"33600000001")])
    audit = _app(15, [_app(415, b"\x05"), _app(43, _integer(len(events)))])
    network = _app(6, [offsets, _app(188, [entity])])
    return _app(1, [_app(4, control), _app(5, [_app(135, b"EUR")]), network, _app(3, events), audit])


def cdr_file(records: list[bytes], midnight: int) -> bytes:
    """Return a file of TS 32.297, release 16."""
    body = b"".join(struct.pack(">HBB", len(one), 7 << 5 | 3, 1 << 5 | 6) + b"\x06" + one for one in records)
    day = datetime.fromtimestamp(midnight, UTC)
    opened = day.month << 28 | day.day << 23 | 1 << 11
    tail = bytes(4) + b"\x06\x06"
    fixed = struct.pack(
        ">IIBBIIIIB20sB", 48 + len(tail) + len(body), 48 + len(tail), 7 << 5, 7 << 5, opened, opened | 23 << 18,
        len(records), 7, 0, b"\xff" * 4 + bytes(16), 0,
    )  # fmt: skip
    return fixed + tail + body


def ber_of(name: str, records: int, midnight: int) -> tuple[bytes, int]:
    """Return a delivery of so many records of a day, and how many it has."""
    write: Callable[[Call], bytes] = tap_call if name == "tap3" else msc_call
    made = [
        (pgw_bearer if number % 2 and name == "3gpp-32297" else write)(Call(number, midnight))
        for number in range(records)
    ]
    if name == "tap3":
        return tap_batch(made), records
    return (cdr_file(made, midnight) if name == "3gpp-32297" else b"".join(made)), records
