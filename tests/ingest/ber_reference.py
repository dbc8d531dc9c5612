"""A slow second reader of 3GPP records, one octet after the other, to check the fast one against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any


class UnreadableError(Exception):
    """The bytes are no BER."""


def parse(data: bytes, depth: int = 0) -> list[tuple[int, int, bytes]]:
    """Return (class, number, content) of the elements that fill the bytes."""
    found = []
    at = 0
    while at < len(data):
        cls, number, content, at = element(data, at, depth)
        found.append((cls, number, content))
    return found


def element(data: bytes, at: int, depth: int = 0) -> tuple[int, int, bytes, int]:
    try:
        first = data[at]
        at += 1
        number = first & 31
        if number == 31:
            number, octets = 0, 0
            while True:
                octet = data[at]
                at, octets = at + 1, octets + 1
                number = number * 128 + octet % 128
                if octet < 128:
                    break
                if octets == 3:
                    raise UnreadableError
        size = data[at]
        at += 1
        if size == 128:
            if not first & 32 or depth > 30:
                raise UnreadableError
            begin = at
            while data[at : at + 2] != b"\0\0":
                if at >= len(data):
                    raise UnreadableError
                at = element(data, at, depth + 1)[3]
            return first >> 6, number, data[begin:at], at + 2
        if size > 128:
            count = size - 128
            if count > 4 or at + count > len(data):
                raise UnreadableError
            size = int.from_bytes(data[at : at + count], "big")
            at += count
    except IndexError:
        raise UnreadableError from None
    if at + size > len(data):
        raise UnreadableError
    return first >> 6, number, data[at : at + size], at + size


def fields(data: bytes) -> dict[int, bytes]:
    return {number: content for cls, number, content in parse(data) if cls == 2}


def digits(content: bytes) -> str | None:
    text = content.hex()
    swapped = "".join(text[at + 1] + text[at] for at in range(0, len(text), 2)).rstrip("f")
    if "f" in swapped or len(content) > 32:
        raise ValueError
    return swapped.translate(str.maketrans("abcde", "*#abc")) or None


def time(content: bytes) -> datetime:
    text = content.hex()
    if len(content) != 9 or content[6:7] not in b"+-":
        raise ValueError
    year, month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(0, 12, 2))
    offset = timedelta(hours=int(text[14:16]), minutes=int(text[16:18]))
    if int(text[16:18]) > 59 or offset > timedelta(hours=14):
        raise ValueError
    local = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
    return local + offset if content[6:7] == b"-" else local - offset


def mo_call(record: bytes) -> dict[str, Any]:
    """Return what an MOCallRecord says (TS 32.298 §5.2.2)."""
    found = fields(record)
    row: dict[str, Any] = {}
    for name, tag in (("imsi", 1), ("imei", 2)):
        if tag in found:
            row[name] = digits(found[tag])
    for name, tag in (("start_time", 22), ("answer_time", 23), ("end_time", 24)):
        if tag in found:
            row[name] = time(found[tag])
    if 25 in found:
        row["duration_ms"] = int.from_bytes(found[25], "big") * 1000
    return row
