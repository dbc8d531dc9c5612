"""The messages in which Juniper's and A10's devices tell of a translation, read from one line's text.

Juniper (names of messages by product):

* SRX, and MX with USF: `RT_SRC_NAT_PBA_ALLOC`, `_INTERIM`, `_RELEASE`; `RT_FLOW_SESSION_CREATE`, `_CLOSE`, also with
  `_USF` or `_LS`; structured (`name="value"`) or as text;
* MS-MPC and MS-DPC: `JSERVICES_NAT_PORT_BLOCK_ALLOC`, `_ACTIVE`, `_RELEASE` (older: `ASP_…`); `JSERVICES_SESSION_OPEN`,
  `_CLOSE`, `MSVCS_LOG_SESSION_OPEN`, `_CLOSE`, `ASP_SFW_CREATE_ACCEPT_FLOW`, `ASP_SFW_DELETE_FLOW`.

A10: `PortBatchV2Allocated`, `…Freed`, `…InterimUpdate`; `NAT-TCP-C: …` with addresses as text or in hexadecimal; CEF.

Every other message is none of a translation: an alarm, a rule that matched, a refusal, a configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ingest.decoders.base import Event

PORT_MAX: Final = 65_535
SESSION, BINDING, BLOCK = "session", "binding", "block"


class Translation(NamedTuple):
    """One event of a translation; addresses are as written, ports are numbers."""

    event: Event
    kind: str
    protocol: str
    source: tuple[str, int | None]
    public: tuple[str, int, int] | None
    """Address, first and last port; None where the session is not translated."""
    destination: tuple[str, int | None] | None = None
    identifier: str = ""
    """The device's own number of the session."""
    at_s: int | None = None
    """When the event was, where the message tells it by epoch."""
    begun_s: int | None = None
    """When the translation began, where another event than its first tells it."""
    elapsed_s: int | None = None
    up_bytes: int | None = None
    down_bytes: int | None = None
    cause: str | None = None
    stamp: str | None = None
    """Local time YYYYMMDDhhmmss in the message, which is better than the prefix's."""


class UnsupportedMessageError(Exception):
    """The message is known, and tells of no translation."""


class MalformedMessageError(Exception):
    """The message should tell of a translation, and cannot be read."""


_OPENS: Final = {"ALLOC", "CREATE", "OPEN", "CREATE_ACCEPT_FLOW"}
_CLOSES: Final = {"RELEASE", "CLOSE", "DELETE_FLOW"}
_JUNIPER: Final = re.compile(
    r"\b(?:(RT_SRC_NAT_PBA)_(ALLOC|RELEASE|INTERIM)|(RT_FLOW_SESSION)_(CREATE|CLOSE)(?:_USF|_LS)?"
    r"|((?:ASP|JSERVICES)_NAT_PORT_BLOCK)_(ALLOC|RELEASE|ACTIVE)"
    r"|((?:JSERVICES|MSVCS_LOG)_SESSION)_(OPEN|CLOSE)|(ASP_SFW)_(CREATE_ACCEPT_FLOW|DELETE_FLOW))(?![A-Z_])"
)
_PAIR: Final = re.compile(r'([a-z][a-z0-9-]*)="([^"]*)"')
_PBA: Final = re.compile(
    r"Subscriber (\S+) used/maximum \[[0-9]+/[0-9]+\] blocks, .*?port block \[([0-9]{1,5})-([0-9]{1,5})\] "
    r"from (\S+)(?:.*\bepoch (?:0x)?([0-9a-fA-F]{8,16})\b)?"
)
_BLOCK: Final = re.compile(r": *(\S+) -> (\S+):([0-9]{1,5})-([0-9]{1,5})(?![0-9])")
_END: Final = r"([0-9a-fA-F.:]+)[:/]([0-9]{1,5})"
_SERVICES: Final = re.compile(rf"\s{_END} (?:\[{_END}\] )?-> (?:\[[^\]]*\] )?{_END}(?: \[{_END}\])?.*?\((\w+)\)")
_ASP: Final = re.compile(rf"proto [0-9]+ \((\w+)\).*?:{_END} -> {_END},.*?source address and port translate to {_END}")
_FLOW: Final = re.compile(
    rf"session (?:created|closed ([^:]*):) {_END}->{_END} (?:0x[0-9a-f]+ )?\S+ {_END}->\S+"
    r"(?:.*? ([0-9]{1,3}) \S+ \S+ \S+ ([0-9]+)\b(?: ([0-9]+)\(([0-9]+)\) ([0-9]+)\(([0-9]+)\) ([0-9]+))?)?"
)

_BATCH: Final = re.compile(
    r"(?:\bNAT:([0-9]{14}) [0-9a-fA-F]+ )?PortBatch(?:V2)?(Allocated|Freed|InterimUpdate): "
    r"\[(\S+) (\S+) ([0-9]{1,5}) ([0-9]{1,5})\]"
)
_A10_END: Final = r"((?=[0-9]*\.)[0-9.]{7,15}:[0-9]{1,5}|[0-9a-fA-F]{8}:[0-9a-fA-F]{1,4})(?![0-9a-fA-F])"
_A10: Final = re.compile(
    rf"\bNAT-(\w+)-([A-Z]): *{_A10_END} *(<?-+>) *{_A10_END}(?: to {_A10_END}|, *{_A10_END} *<?-+> *[0-9a-fA-F.:]+)?"
)
_A10_TO_DESTINATION: Final = "<->"
"""What stands before a destination; before a public address it is longer."""
_A10_NAME: Final = re.compile(r"\bNAT-\w+-[A-Z]: |\bPortBatch\w+: ")
_A10_LETTERS: Final = {
    **dict.fromkeys("CNAB", Event.OPEN),
    **dict.fromkeys("DF", Event.CLOSE),
    **dict.fromkeys("UI", Event.UPDATE),
}
_CEF: Final = re.compile(r"\bCEF:[0-9]+\|A10\|[^|]*\|[^|]*\|[^|]*\|([^|]*)\|[^|]*\|(.*)")
_CEF_PAIR: Final = re.compile(r"(\w+)=(.*?)(?=\s+\w+=|\s*$)")
_KNOWN: Final = re.compile(r"\b(?:RT_\w+|JSERVICES_\w+|MSVCS_\w+|ASP_\w+|FIXED-NAT-\w+|DET-NAT\w*|CEF:[0-9]+\|A10\|)")
"""Other messages of the same devices."""


def read_message(text: str) -> Translation:
    """Return the translation that a message tells of.

    Raises:
        UnsupportedMessageError: it tells of none.
        MalformedMessageError: it cannot be read.
    """
    found = _JUNIPER.search(text)
    if found is not None:
        family, word = (one for one in found.groups() if one is not None)
        event = Event.OPEN if word in _OPENS else Event.CLOSE if word in _CLOSES else Event.UPDATE
        return _ports_checked(_READERS[family](text[found.end() :], event))
    if _A10_NAME.search(text) is not None:
        return _ports_checked(_batch(text) if "PortBatch" in text else _a10_text(text))
    found = _CEF.search(text)
    if found is not None:
        return _ports_checked(_cef(found[1], found[2]))
    if _KNOWN.search(text) is not None:
        raise UnsupportedMessageError
    raise MalformedMessageError


def _ports_checked(one: Translation) -> Translation:
    ports = [end[1] for end in (one.source, one.destination) if end is not None and end[1] is not None]
    if one.public is not None:
        ports += one.public[1:]
        if one.public[1] > one.public[2]:
            raise MalformedMessageError
    if any(port > PORT_MAX for port in ports):
        raise MalformedMessageError
    return one


def _values(text: str) -> dict[str, str]:
    return dict(_PAIR.findall(text))


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdecimal() and len(value) < 19 else None


def _needed(value: str | None) -> int:
    number = _number(value)
    if number is None:
        raise MalformedMessageError
    return number


def _pba(text: str, event: Event) -> Translation:
    values = _values(text)
    if values:
        try:
            inside, public = values["internal-ip"], values["reflexive-ip"]
        except KeyError:
            raise MalformedMessageError from None
        first, last = _needed(values.get("block-port-low")), _needed(values.get("block-port-high"))
        epoch: str | None = values.get("epoch-time-64")
    else:
        found = _PBA.search(text)
        if found is None:
            raise MalformedMessageError
        inside, low, high, public, epoch = found.groups()
        first, last = int(low), int(high)
    seconds = _epoch(epoch)
    one = Translation(event, BLOCK, "", (inside, None), (public, first, last))
    return one._replace(begun_s=seconds) if event is Event.UPDATE else one._replace(at_s=seconds)


def _epoch(text: str | None) -> int | None:
    """Return the seconds of an epoch in hexadecimal."""
    try:
        seconds = int(text, 16) if text else 0
    except ValueError:
        raise MalformedMessageError from None
    return seconds if 0 < seconds < 1 << 33 else None


def _port_block(text: str, event: Event) -> Translation:
    found = _BLOCK.match(text)
    if found is None:
        raise MalformedMessageError
    return Translation(event, BLOCK, "", (found[1], None), (found[2], int(found[3]), int(found[4])))


def _session(
    event: Event, protocol: str, source: tuple[str, int], public: tuple[str, int], destination: tuple[str, int]
) -> Translation:
    port = public[1]
    nat = None if public == source else (public[0], port, port)
    return Translation(event, SESSION, protocol.lower(), source, nat, destination)


def _flow(text: str, event: Event) -> Translation:
    values = _values(text)
    if not values:
        return _flow_text(text, event)
    try:
        names = [values[f"{name}-address"] for name in ("source", "nat-source", "destination")]
    except KeyError:
        raise MalformedMessageError from None
    ports = [_needed(values.get(f"{name}-port")) for name in ("source", "nat-source", "destination")]
    source, public, destination = zip(names, ports, strict=True)
    one = _session(event, values.get("protocol-id", ""), source, public, destination)
    one = one._replace(identifier=values.get("session-id-32") or values.get("session-id") or "")
    if event is Event.OPEN:
        return one
    return one._replace(
        elapsed_s=_number(values.get("elapsed-time")),
        up_bytes=_number(values.get("bytes-from-client")),
        down_bytes=_number(values.get("bytes-from-server")),
        cause=values.get("reason"),
    )


def _flow_text(text: str, event: Event) -> Translation:
    found = _FLOW.search(text)
    if found is None or (found[1] is None) != (event is Event.OPEN):
        raise MalformedMessageError
    cause, source, sport, destination, dport, public, nport, protocol, identifier, *used = found.groups()
    one = _session(event, protocol or "", (source, int(sport)), (public, int(nport)), (destination, int(dport)))
    one = one._replace(identifier=identifier or "", cause=cause or None)
    if used[4] is None:
        return one
    return one._replace(up_bytes=_number(used[1]), down_bytes=_number(used[3]), elapsed_s=_number(used[4]))


def _services(text: str, event: Event) -> Translation:
    found = _SERVICES.search(text)
    if found is None:
        raise MalformedMessageError
    source, sport, before, bport, destination, dport, behind, port, protocol = found.groups()
    own = (source, int(sport))
    public = (before, int(bport)) if before else (behind, int(port)) if behind else own
    return _session(event, protocol, own, public, (destination, int(dport)))


def _asp(text: str, event: Event) -> Translation:
    found = _ASP.search(text)
    if found is None:
        raise UnsupportedMessageError  # a flow of the firewall that is not translated
    protocol, source, sport, destination, dport, public, port = found.groups()
    return _session(event, protocol, (source, int(sport)), (public, int(port)), (destination, int(dport)))


_READERS: Final[dict[str, Callable[[str, Event], Translation]]] = {
    "RT_SRC_NAT_PBA": _pba,
    "RT_FLOW_SESSION": _flow,
    "ASP_NAT_PORT_BLOCK": _port_block,
    "JSERVICES_NAT_PORT_BLOCK": _port_block,
    "JSERVICES_SESSION": _services,
    "MSVCS_LOG_SESSION": _services,
    "ASP_SFW": _asp,
}


def _batch(text: str) -> Translation:
    found = _BATCH.search(text)
    if found is None or text[found.end() :].strip():
        raise MalformedMessageError
    stamp, word, inside, public, first, last = found.groups()
    event = {"Allocated": Event.OPEN, "Freed": Event.CLOSE}.get(word, Event.UPDATE)
    return Translation(event, BLOCK, "", (inside, None), (public, int(first), int(last)), stamp=stamp)


def _a10_text(text: str) -> Translation:
    """Read `inside<-->public to destination` (a port) or `inside<->destination, public<-->destination` (a session)."""
    found = _A10.search(text)
    if found is None:
        raise MalformedMessageError
    protocol, letter, inside, arrow, second, destination, public = found.groups()
    event = _A10_LETTERS.get(letter)
    if event is None:
        raise UnsupportedMessageError
    source = _a10_end(inside)
    if public is not None:
        return _session(event, protocol, source, _a10_end(public), _a10_end(second))
    if destination is None and (arrow == _A10_TO_DESTINATION or text[found.end() :].lstrip().startswith(",")):
        raise MalformedMessageError  # a session that is cut off: its second end is no public address
    address, port = _a10_end(second)
    told = None if destination is None else _a10_end(destination)
    return Translation(event, BINDING, protocol.lower(), source, (address, port, port), told)


def _a10_end(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    if "." in address:
        return address, int(port)
    octets = bytes.fromhex(address)
    return ".".join(map(str, octets)), int(port, 16)


def _cef(name: str, extension: str) -> Translation:
    if not name.lower().startswith("nat "):
        raise UnsupportedMessageError
    last_word = name.rpartition(" ")[2].lower()
    words = {"allocated": Event.OPEN, "created": Event.OPEN, "freed": Event.CLOSE, "deleted": Event.CLOSE}
    event = words.get(last_word, Event.UPDATE if "interim" in name.lower() else None)
    if event is None:
        raise UnsupportedMessageError
    values = dict(_CEF_PAIR.findall(extension))
    if "src" not in values or "sourceTranslatedAddress" not in values:
        raise MalformedMessageError
    first = _needed(values.get("sourceTranslatedPort"))
    protocol, public = values.get("proto", "").lower(), values["sourceTranslatedAddress"]
    if "batch" in name.lower():
        label = next((key for key, value in values.items() if value == "Last Nat Port"), "cn3Label")
        last = _needed(values.get(label.removesuffix("Label")))
        return Translation(event, BLOCK, protocol, (values["src"], None), (public, first, last))
    source = values["src"], _needed(values.get("spt"))
    told = values.get("dst")
    destination = None if told is None else (told, _number(values.get("dpt")))
    kind = SESSION if "session" in name.lower() else BINDING
    return Translation(event, kind, protocol, source, (public, first, first), destination)
