"""Makes 3GPP records, files and TAP batches from known values. Written from the standards, not from the decoders."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address

CONTEXT, APPLICATION, UNIVERSAL = 0x80, 0x40, 0x00
SEQUENCE = 16
DIGITS = "0123456789*#abc"


def header(cls: int, number: int, constructed: bool) -> bytes:
    first = cls | (0x20 if constructed else 0)
    if number < 31:
        return bytes((first | number,))
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.insert(0, number & 0x7F | 0x80)
    return bytes((first | 31, *octets))


def length(size: int) -> bytes:
    if size < 128:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def tlv(cls: int, number: int, content: bytes | Iterable[bytes], *, indefinite: bool = False) -> bytes:
    """Return one element; a list of elements makes it constructed."""
    constructed = not isinstance(content, bytes)
    body = content if isinstance(content, bytes) else b"".join(content)
    if indefinite:
        assert constructed
        return header(cls, number, True) + b"\x80" + body + b"\0\0"
    return header(cls, number, constructed) + length(len(body)) + body


def context(number: int, content: bytes | Iterable[bytes], *, indefinite: bool = False) -> bytes:
    return tlv(CONTEXT, number, content, indefinite=indefinite)


def sequence(*content: bytes, indefinite: bool = False) -> bytes:
    return tlv(UNIVERSAL, SEQUENCE, list(content), indefinite=indefinite)


def integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def tbcd(digits: str) -> bytes:
    nibbles = [DIGITS.index(digit) for digit in digits] + [15] * (len(digits) % 2)
    return bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))


def address(digits: str, kind: int = 1) -> bytes:
    """AddressString or BCDDirectoryNumber: type of number (1 international, 2 national, 0 unknown), plan, digits."""
    return bytes((0x80 | kind << 4 | 1,)) + tbcd(digits)


def packed_bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def time(moment: datetime) -> bytes:
    """TimeStamp of an aware time, in its own offset."""
    offset = moment.utcoffset() or timedelta(0)
    minutes = abs(int(offset.total_seconds())) // 60
    clock = (moment.year % 100, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    sign = b"-" if offset < timedelta(0) else b"+"
    return bytes(map(packed_bcd, clock)) + sign + bytes(map(packed_bcd, divmod(minutes, 60)))


def network(mcc: str, mnc: str) -> bytes:
    third = int(mnc[2]) if len(mnc) == 3 else 15
    return bytes((int(mcc[0]) | int(mcc[1]) << 4, int(mcc[2]) | third << 4, int(mnc[0]) | int(mnc[1]) << 4))


def cell(lac: int, number: int, plmn: tuple[str, str] | None = None) -> list[bytes]:
    parts = [context(0, lac.to_bytes(2, "big")), context(1, number.to_bytes(2, "big"))]
    return [*parts, context(2, network(*plmn))] if plmn else parts


def ip(text: str) -> bytes:
    """Binary choice of IPAddress."""
    parsed = ip_address(text)
    return context(0 if parsed.version == 4 else 1, parsed.packed)


def record(choice: int, fields: Mapping[int, bytes | Iterable[bytes]], *, indefinite: bool = False) -> bytes:
    """Return a record: its CHOICE tag, and its fields by tag."""
    return context(choice, [context(tag, content) for tag, content in fields.items()], indefinite=indefinite)


def header_time(moment: datetime) -> int:
    offset = int((moment.utcoffset() or timedelta(0)).total_seconds()) // 60
    hours, minutes = divmod(abs(offset), 60)
    packed = moment.month << 28 | moment.day << 23 | moment.hour << 18 | moment.minute << 12
    return packed | (offset >= 0) << 11 | hours << 6 | minutes


def cdr_file(
    records: Iterable[bytes],
    opened: datetime,
    appended: datetime,
    *,
    count: int | None = None,
    size: int | None = None,
    sequence_number: int = 7,
    closure: int = 0,
    lost: int = 0,
    release: int = 7,
    encoding: int = 1,
    routeing: bytes = b"",
    private: bytes = b"",
) -> bytes:
    """Return a file of TS 32.297."""
    payloads = list(records)
    extension = b"\x06" if release == 7 else b""
    body = b"".join(
        struct.pack(">HBB", len(one), release << 5 | 3, encoding << 5 | 6) + extension + one for one in payloads
    )
    tail = len(routeing).to_bytes(2, "big") + routeing + len(private).to_bytes(2, "big") + private + 2 * extension
    total = 48 + len(tail) + len(body)
    fixed = struct.pack(
        ">IIBBIIIIB20sB",
        total if size is None else size,
        48 + len(tail),
        release << 5,
        release << 5,
        header_time(opened),
        header_time(appended),
        len(payloads) if count is None else count,
        sequence_number,
        closure,
        b"\xff" * 4 + bytes(16),
        lost,
    )
    return fixed + tail + body
