"""Small values of TS 32.298 as text: cells, trunk groups, addresses, causes. One value at a time, each read once.

What cannot be read becomes hexadecimal digits: a location or a trunk in an unknown form is still a label.

Source: 3GPP TS 32.298 §5.1.2; TS 24.008 §10.5.1.3 (PLMN), TS 29.060 §7.7.51 and TS 29.274 §8.21 (user location).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import orjson

from ingest.decoders.ber.elements import header
from ingest.decoders.slices import is_utf8

_TBCD = "0123456789*#abc"
_SEVEN_BIT = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


def elements(data: bytes) -> list[tuple[int, bytes]] | None:
    """Return (first octet, content) of elements with tags below 31 and definite lengths, or None."""
    found, at = [], 0
    while at < len(data):
        first = data[at]
        start, length = header(data, at, len(data))
        if start < 0 or length < 0 or first & 0x1F == 0x1F or start + length > len(data):
            return None
        found.append((first, data[start : start + length]))
        at = start + length
    return found


def by_number(data: bytes) -> dict[int, bytes]:
    """Return contents by context tag number; nothing where they cannot be read."""
    return {first & 0x1F: content for first, content in elements(data) or [] if first & 0xC0 == 0x80}


def network(octets: bytes) -> str:
    """Return a mobile network code (three octets) as `mcc-mnc`. Source: TS 24.008 §10.5.1.3."""
    nibbles = [octet >> shift & 15 for octet in octets for shift in (0, 4)]
    mcc, mnc = nibbles[:3], [*nibbles[4:6], *([] if nibbles[3] == 15 else [nibbles[3]])]
    if len(octets) != 3 or max(mcc + mnc) > 9:
        return octets.hex()
    return "".join(map(str, mcc)) + "-" + "".join(map(str, mnc))


def cell(content: bytes) -> str:
    """Return LocationAreaAndCell as `[mcc-mnc-]lac-cell`."""
    parts = by_number(content)
    if len(parts.get(0, b"")) != 2 or len(parts.get(1, b"")) != 2:
        return content.hex()
    place = f"{int.from_bytes(parts[0], 'big')}-{int.from_bytes(parts[1], 'big')}"
    return f"{network(parts[2])}-{place}" if 2 in parts else place


def user_location(content: bytes) -> str:
    """Return a user location as `mcc-mnc-eci`, `mcc-mnc-lac-cell` or `mcc-mnc-tac`; else as text or hexadecimal.

    GTPv2 has flags in its first octet, GTPv1 a type; the lengths tell which. The 5G charging function has text.
    """
    sizes = ((1, 7), (2, 7), (4, 7), (8, 5), (16, 7), (32, 5))  # CGI, SAI, RAI, TAI, ECGI, LAI
    if content[:1] == b"{":
        return _location_text(content)
    flags = content[0] if content else 0
    parts, at = {}, 1
    for flag, size in sizes:
        if flags & flag:
            parts[flag] = content[at : at + size]
            at += size
    if flags in (0, 2) and len(content) == 8:  # GTPv1: 0 is a CGI, 2 a RAI
        parts, at = {1: content[1:8]}, 8
    if at != len(content) or not parts:
        return content.decode() if _is_label(content) else content.hex()
    if 16 in parts:
        return f"{network(parts[16][:3])}-{int.from_bytes(parts[16][3:], 'big') & 0xFFFFFFF}"
    for flag in (1, 2, 4):
        if flag in parts:
            place = parts[flag]
            return f"{network(place[:3])}-{int.from_bytes(place[3:5], 'big')}-{int.from_bytes(place[5:7], 'big')}"
    place = parts[8] if 8 in parts else parts[32]
    return f"{network(place[:3])}-{int.from_bytes(place[3:5], 'big')}"


def _location_text(content: bytes) -> str:
    """Return the cell of a UserLocation in JSON. Source: TS 29.571 §5.4.4.7."""
    try:
        told: Any = orjson.loads(content)
        for access, name, number in (("nrLocation", "ncgi", "nrCellId"), ("eutraLocation", "ecgi", "eutraCellId")):
            if isinstance(told, dict) and access in told:
                place = told[access][name]
                return f"{place['plmnId']['mcc']}-{place['plmnId']['mnc']}-{int(place[number], 16)}"
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    return content.hex()


def user_location_5g(content: bytes) -> str:
    """Return UserLocationInformationStructured as `mcc-mnc-cell`."""
    parts = by_number(content)
    for access, inner in ((1, 1), (0, 1)):
        place = by_number(by_number(parts.get(access, b"")).get(inner, b""))
        if 0 in place and 1 in place:
            try:
                return f"{network(place[0])}-{int(place[1], 16)}"
            except ValueError:
                break
    return content.hex()


def trunk(content: bytes) -> str:
    """Return a TrunkGroup, a number or a name."""
    parts = elements(content)
    if parts is not None and len(parts) == 1:
        first, value = parts[0]
        if first & 0x1F == 0 and 0 < len(value) <= 8:
            return str(int.from_bytes(value, "big"))
        if first & 0x1F == 1 and _is_label(value):
            return value.decode()
    return content.decode() if _is_label(content) else content.hex()


def address(content: bytes) -> str:
    """Return an IP or node address, however it is wrapped: binary, text, in a choice, in a list (its first)."""
    for _ in range(3):
        if len(content) in (4, 16) and not _wraps(content):
            return str(ip_address(content))
        parts = elements(content)
        if not parts:
            break
        first, content = parts[0]
        if not first & 0x20:
            if len(content) in (4, 16) and first & 0x1F in (0, 1, 4):
                return str(ip_address(content))
            break
    return content.decode() if _is_label(content) else content.hex()


def _wraps(content: bytes) -> bool:
    """Tell whether sixteen octets are a text address in its element; no address in an element has four."""
    return len(content) == 16 and content[0] in (0x82, 0x83) and content[1] == 14


def prefix(content: bytes) -> str | None:
    """Return the IPv6 address of an IPAddress with the length of its prefix, 64 where none is told; None for IPv4."""
    parts = elements(content)
    length = 64
    for _ in range(2):
        if not parts or not parts[0][0] & 0x20:
            break
        parts = elements(parts[0][1])
    for first, value in parts or []:
        if first & 0x1F == 2 and first < 0x40 and len(value) == 1:
            length = value[0]
    for first, value in parts or []:
        if len(value) == 16 and first & 0x1F in (1, 4):
            return f"{ip_address(value)}/{length}"
    return None


def number(content: bytes) -> str | None:
    """Return an AddressString (number of a switch or service centre) as digits."""
    if not content:
        return None
    if content[0] >> 4 & 7 == 5:
        return seven_bit(content[1:])
    text = "".join("" if digit == 15 else _TBCD[digit] for octet in content[1:] for digit in (octet & 15, octet >> 4))
    return text or content.hex()


def seven_bit(packed: bytes) -> str:
    """Return an alphanumeric address. Source: TS 23.040 §9.1.2.5, TS 23.038 §6.2.1."""
    bits = int.from_bytes(packed, "little")
    text = "".join(_SEVEN_BIT[bits >> 7 * at & 0x7F] for at in range(len(packed) * 8 // 7))
    if len(packed) % 7 == 0:
        text = text.removesuffix("@")  # seven septets leave seven bits over
    return "".join(char for char in text if char.isprintable()).strip() or packed.hex()


def diagnostics(content: bytes) -> str | None:
    """Return the cause number of Diagnostics, whichever kind it is."""
    for first, value in elements(content) or []:
        if not first & 0x20 and 0 < len(value) <= 4:
            return str(int.from_bytes(value, "big"))
    return content.hex() or None


def label(content: bytes) -> str:
    """Return a name as it is; octets that are no text as hexadecimal."""
    return content.decode() if _is_label(content) else content.hex()


def integer(content: bytes) -> str | None:
    """Return a short INTEGER as digits."""
    return str(int.from_bytes(content, "big")) if 0 < len(content) <= 8 else None


def _is_label(octets: bytes) -> bool:
    return bool(octets) and min(octets) >= 0x20 and 0x7F not in octets and is_utf8(octets)
