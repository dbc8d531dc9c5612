"""RADIUS packets: read, authenticated, answered, and written as blocks of a FreeRADIUS detail file.

Only the attributes that the detail decoder reads are written; all others, `User-Password` and its like among them, go
no further than this module.

Source: RFC 2865 §5 (attributes), RFC 2866 §3 and §5, RFC 2869 §5, RFC 5080 §2.2.2 and RFC 3579 §3.2
(Message-Authenticator), 3GPP TS 29.061 §16.4.7.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE = 4, 5
HEADER_OCTETS: Final = 20
PACKET_OCTETS_MAX: Final = 4096
START, STOP, INTERIM, ON, OFF = 1, 2, 3, 7, 8
_VENDOR_SPECIFIC, _PROXY_STATE, _MESSAGE_AUTHENTICATOR, _DELAY = 26, 33, 80, 41
_STATUS, _EVENT_TIMESTAMP = 40, 55
_WORDS: Final = {START: "Start", STOP: "Stop", INTERIM: "Interim-Update"}
_CAUSES: Final = (
    "User-Request", "Lost-Carrier", "Lost-Service", "Idle-Timeout", "Session-Timeout", "Admin-Reset", "Admin-Reboot",
    "Port-Error", "NAS-Error", "NAS-Request", "NAS-Reboot", "Port-Unneeded", "Port-Preempted", "Port-Suspended",
    "Service-Unavailable", "Callback", "User-Error", "Host-Request",
)  # fmt: skip
_TEXT, _NUMBER, _ADDRESS, _PREFIX, _OCTETS, _CAUSE, _TYPE = range(7)
_3GPP, _CISCO, _ACME = 10_415, 9, 9148
_NAMES: Final[dict[tuple[int, int], tuple[str, int]]] = {
    (0, 1): ("User-Name", _TEXT),
    (0, 4): ("NAS-IP-Address", _ADDRESS),
    (0, 8): ("Framed-IP-Address", _ADDRESS),
    (0, 30): ("Called-Station-Id", _TEXT),
    (0, 31): ("Calling-Station-Id", _TEXT),
    (0, 32): ("NAS-Identifier", _TEXT),
    (0, 40): ("Acct-Status-Type", _TYPE),
    (0, 42): ("Acct-Input-Octets", _NUMBER),
    (0, 43): ("Acct-Output-Octets", _NUMBER),
    (0, 44): ("Acct-Session-Id", _TEXT),
    (0, 46): ("Acct-Session-Time", _NUMBER),
    (0, 49): ("Acct-Terminate-Cause", _CAUSE),
    (0, 50): ("Acct-Multi-Session-Id", _TEXT),
    (0, 52): ("Acct-Input-Gigawords", _NUMBER),
    (0, 53): ("Acct-Output-Gigawords", _NUMBER),
    (0, 55): ("Event-Timestamp", _NUMBER),
    (0, 87): ("NAS-Port-Id", _TEXT),
    (0, 95): ("NAS-IPv6-Address", _ADDRESS),
    (0, 97): ("Framed-IPv6-Prefix", _PREFIX),
    (0, 123): ("Delegated-IPv6-Prefix", _PREFIX),
    (0, 168): ("Framed-IPv6-Address", _ADDRESS),
    (_3GPP, 1): ("3GPP-IMSI", _TEXT),
    (_3GPP, 20): ("3GPP-IMEISV", _TEXT),
    (_3GPP, 22): ("3GPP-User-Location-Info", _OCTETS),
    (_CISCO, 23): ("h323-remote-address", _TEXT),
    (_CISCO, 24): ("h323-conf-id", _TEXT),
    (_CISCO, 25): ("h323-setup-time", _TEXT),
    (_CISCO, 28): ("h323-connect-time", _TEXT),
    (_CISCO, 29): ("h323-disconnect-time", _TEXT),
    (_CISCO, 30): ("h323-disconnect-cause", _TEXT),
    (_ACME, 3): ("Acme-Session-Ingress-CallId", _TEXT),
    (_ACME, 41): ("Acme-Session-Ingress-Realm", _TEXT),
    (_ACME, 42): ("Acme-Session-Egress-Realm", _TEXT),
}


@dataclass(frozen=True, slots=True)
class Packet:
    """An Accounting-Request, with its attributes as (vendor, type, value)."""

    identifier: int
    authenticator: bytes
    octets: bytes
    attributes: tuple[tuple[int, int, bytes], ...]

    def first(self, attribute: int) -> bytes | None:
        """Return the first value of a standard attribute."""
        return next((value for vendor, kind, value in self.attributes if (vendor, kind) == (0, attribute)), None)

    def number(self, attribute: int) -> int | None:
        """Return the first value of a numeric attribute; None where it is absent, or no number."""
        value = self.first(attribute)
        return None if value is None or len(value) != 4 else int.from_bytes(value, "big")

    @property
    def status(self) -> int | None:
        """Acct-Status-Type."""
        return self.number(_STATUS)

    @property
    def nas(self) -> str | None:
        """What the client calls itself, as the detail decoder chooses it."""
        for attribute in (4, 95, 32):
            value = self.first(attribute)
            if value:
                return _address(value) if attribute != 32 else value.decode(errors="backslashreplace")
        return None

    def event_s(self, received_s: int) -> int:
        """Return when it happened, in s since 1970: Event-Timestamp, else the receipt less Acct-Delay-Time."""
        told = self.number(_EVENT_TIMESTAMP)
        return told if told is not None else received_s - (self.number(_DELAY) or 0)

    @property
    def has_time(self) -> bool:
        """Whether it tells its time itself."""
        return self.number(_EVENT_TIMESTAMP) is not None

    def content(self) -> bytes:
        """Return what a retransmission has in common with its original: everything but the delay and digests.

        Source: RFC 2866 §5.2 (a changed Acct-Delay-Time makes a new identifier and authenticator).
        """
        kept = [
            struct.pack(">IB", vendor, kind) + value
            for vendor, kind, value in self.attributes
            if (vendor, kind) not in {(0, _DELAY), (0, _MESSAGE_AUTHENTICATOR), (0, _PROXY_STATE)}
        ]
        return b"".join(struct.pack(">H", len(one)) + one for one in kept)


def read(data: bytes) -> Packet | None:
    """Return the Accounting-Request of a datagram; None when it is none. Octets behind its length are padding."""
    if len(data) < HEADER_OCTETS:
        return None
    code, identifier, octets = struct.unpack_from(">BBH", data)
    if code != ACCOUNTING_REQUEST or not HEADER_OCTETS <= octets <= min(len(data), PACKET_OCTETS_MAX):
        return None
    data = data[:octets]
    attributes: list[tuple[int, int, bytes]] = []
    at = HEADER_OCTETS
    while at < octets:
        if octets - at < 2 or not 2 <= data[at + 1] <= octets - at:
            return None
        kind, value = data[at], data[at + 2 : at + data[at + 1]]
        at += data[at + 1]
        if kind == _VENDOR_SPECIFIC:
            attributes.extend(_vendor_specific(value))
        else:
            attributes.append((0, kind, value))
    return Packet(identifier, data[4:HEADER_OCTETS], data, tuple(attributes))


def is_authentic(packet: Packet, secret: bytes) -> bool:
    """Tell whether the packet was made with the secret: both digests agree, where there are two."""
    octets = packet.octets
    zeroed = octets[:4] + bytes(16) + octets[HEADER_OCTETS:]
    expected = hashlib.md5(zeroed + secret, usedforsecurity=False).digest()
    if not hmac.compare_digest(expected, packet.authenticator):
        return False
    told = packet.first(_MESSAGE_AUTHENTICATOR)
    if told is None:
        return True
    at = HEADER_OCTETS
    while zeroed[at] != _MESSAGE_AUTHENTICATOR:
        at += zeroed[at + 1]
    if len(told) != 16:
        return False
    blank = zeroed[: at + 2] + bytes(16) + zeroed[at + 18 :]
    return hmac.compare_digest(hmac.new(secret, blank, "md5").digest(), told)


def answer(packet: Packet, secret: bytes) -> bytes:
    """Return the Accounting-Response; Proxy-State goes back as it came (RFC 2865 §5.33)."""
    states = b"".join(
        bytes([kind, 2 + len(value)]) + value
        for vendor, kind, value in packet.attributes
        if (vendor, kind) == (0, _PROXY_STATE)
    )
    head = struct.pack(">BBH", ACCOUNTING_RESPONSE, packet.identifier, HEADER_OCTETS + len(states))
    digest = hashlib.md5(head + packet.authenticator + states + secret, usedforsecurity=False).digest()
    return head + digest + states


def detail(packet: Packet, address: str, event_s: int) -> bytes:
    """Return the packet as a block of a detail file; `event_s` is its time, in s since 1970."""
    lines = [b"live"]
    for vendor, kind, value in packet.attributes:
        named = _NAMES.get((vendor, kind))
        if named is not None:
            name, form = named
            lines.append(b"\t" + name.encode() + b" = " + _written(form, value))
    lines += [b"\tPacket-Src-IP-Address = " + address.encode(), b"\tTimestamp = " + str(event_s).encode(), b"", b""]
    return b"\n".join(lines)


def end_of(nas: str, session: str, event_s: int) -> bytes:
    """Return the end of a session of which a client that began anew will never tell."""
    values = (
        ("Acct-Status-Type", b"Stop"),
        ("NAS-Identifier", _quoted(nas.encode())),
        ("Acct-Session-Id", _quoted(session.encode())),
        ("Acct-Terminate-Cause", b"NAS-Reboot"),
        ("Timestamp", str(event_s).encode()),
    )
    return b"live\n" + b"".join(b"\t" + name.encode() + b" = " + value + b"\n" for name, value in values) + b"\n"


def _vendor_specific(value: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the attributes of a vendor; what has another form than RFC 2865 recommends is left out."""
    if len(value) < 6:
        return
    vendor, at = int.from_bytes(value[:4], "big"), 4
    while len(value) - at >= 2 and 2 <= value[at + 1] <= len(value) - at:
        yield vendor, value[at], value[at + 2 : at + value[at + 1]]
        at += value[at + 1]


def _written(form: int, value: bytes) -> bytes:
    """Return a value as a detail file has it; one of another form is written as octets, and refused as such."""
    if form == _TEXT:
        return _quoted(value)
    if form == _ADDRESS and len(value) in (4, 16):
        return _address(value).encode()
    if form == _PREFIX and 2 <= len(value) <= 18 and value[1] <= 128:
        packed = value[2:].ljust(16, b"\0")
        return str(ipaddress.ip_network((packed, value[1]), strict=False)).encode()
    if form in (_NUMBER, _CAUSE, _TYPE) and len(value) == 4:
        number = int.from_bytes(value, "big")
        if form == _CAUSE and 1 <= number <= len(_CAUSES):
            return _CAUSES[number - 1].encode()
        return (_WORDS[number] if form == _TYPE and number in _WORDS else str(number)).encode()
    return b"0x" + value.hex().encode()


def _address(value: bytes) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return "0x" + value.hex()


def _quoted(value: bytes) -> bytes:
    value = value.rstrip(b"\0")
    pieces = [
        b"\\" + bytes([octet]) if octet in b'"\\' else bytes([octet]) if 0x20 <= octet < 0x7F else b"\\%03o" % octet
        for octet in value
    ]
    return b'"' + b"".join(pieces) + b'"'
