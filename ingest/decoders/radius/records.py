"""Accounting packets made canonical.

* Start is OPEN, Interim-Update (or Alive) is UPDATE, Stop is CLOSE. They meet by `session_key`: NAS and
  Acct-Session-Id. `switch` is the NAS. Other Acct-Status-Types (Accounting-On, Tunnel-…) are `unsupported`.
* Identity: the session's `record_key` is the Acct-Session-Id, for Start and Stop alike; an interim adds its event time.
  A retransmission differs in Acct-Delay-Time and Timestamp only, neither of which is stored: it is a duplicate.
  `session_ids=reused` adds the event time to every key, for a NAS whose ids begin anew when it restarts.
* The event's time is Event-Timestamp (text with a zone, or epoch), else Timestamp less Acct-Delay-Time.
  A Stop and an interim carry their start: event time less Acct-Session-Time.
* Octets take their Gigawords. `up` is what the user sent (Input).
* Cisco's h323 times come from a clock that may never have been set (`*`), so only their differences count: with
  all three, the start is the end less (disconnect - setup), the answer the end less (disconnect - connect).
  `h323-disconnect-cause` is hexadecimal Q.850; the stored cause is decimal.
* Calling-Station-Id is a number, a MAC address (stored as such) or a SIP URI, of which display name and tag are
  dropped. A telephone number in a SIP URI is stored as a number, with the URI as delivered. Where it names no user,
  User-Name is the calling party: it is the user id of Art 5(1)(a).

Source: RFC 2866, RFC 2869 section 5.1 to 5.3, 3GPP TS 29.061 section 16.4.7, Directive 2006/24 Art 5(1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest import times
from ingest.decoders.base import Event
from ingest.decoders.radius.times import h323_us, moments_us
from ingest.decoders.slices import Column, Faults, Ints, compute, empty_to_null, fill, gather
from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.buffers import text_views
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason

OPTIONS: Final = ("session_ids",)

ATTRIBUTES: Final = (
    "Acct-Status-Type",
    "Acct-Session-Id",
    "Acct-Session-Time",
    "Acct-Delay-Time",
    "Acct-Input-Octets",
    "Acct-Output-Octets",
    "Acct-Input-Gigawords",
    "Acct-Output-Gigawords",
    "Acct-Terminate-Cause",
    "Acct-Multi-Session-Id",
    "Event-Timestamp",
    "Timestamp",
    "NAS-IP-Address",
    "NAS-IPv6-Address",
    "NAS-Identifier",
    "NAS-Port-Id",
    "Packet-Src-IP-Address",
    "Client-IP-Address",
    "User-Name",
    "Calling-Station-Id",
    "Called-Station-Id",
    "Framed-IP-Address",
    "Framed-IPv6-Address",
    "Framed-IPv6-Prefix",
    "Delegated-IPv6-Prefix",
    "3GPP-IMSI",
    "3GPP-IMEISV",
    "3GPP-User-Location-Info",
    "3GPP-Location-Info",
    "Acme-Session-Ingress-CallId",
    "Acme-Session-Ingress-Realm",
    "Acme-Session-Egress-Realm",
    "h323-conf-id",
    "h323-setup-time",
    "h323-connect-time",
    "h323-disconnect-time",
    "h323-disconnect-cause",
    "h323-remote-address",
)
"""Every attribute that is read, 8 to 32 characters each; nothing else of a packet leaves the decoder."""

OCTETS_MAX: Final = (1 << 32) - 1
GIGAWORDS_MAX: Final = (1 << 30) - 1

_STATUS: Final = {
    "Start": Event.OPEN.value,
    "1": Event.OPEN.value,
    "Stop": Event.CLOSE.value,
    "2": Event.CLOSE.value,
    "Interim-Update": Event.UPDATE.value,
    "Alive": Event.UPDATE.value,
    "3": Event.UPDATE.value,
}
_SIP = re.compile(r"<?(sips?:(?:([^@;<>\"]+)@)?[^;<>\"\s]+)(;[^<>\"]*)?>?")
_MAC: Final = (
    r"^(?:[0-9A-Fa-f]{2}([-:])(?:[0-9A-Fa-f]{2}[-:]){4}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})$"
)
_BARE_MAC: Final = r"^([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$"

_MAC_BYTES: Final = (len("02:00:5e:00:53:1a"), len("0200.5e00.531a"))
_DIGITS_MAX: Final = 10
_ZERO, _NINE, _AT = ord("0"), 9, ord("@")


class Settings(NamedTuple):
    """What of a source decides about packets."""

    zone: times.ZoneTimes | None
    service_type: str | None
    tenant_from_realm: bool
    element: str
    ids_reused: bool


def settings(source: SourceConfig) -> Settings:
    """Return the settings of a source.

    Raises:
        ConfigurationError: the zone does not exist, or an option has a value that it does not know.
    """
    ids = source.options.get("session_ids", "unique")
    if ids not in {"unique", "reused"}:
        raise ConfigurationError("option session_ids must be one of unique, reused")
    zone = None if source.zone is None else times.ZoneTimes(source.zone)
    return Settings(zone, source.service_type, source.tenant is None, source.element, ids == "reused")


def packets(columns: Mapping[str, Column], rows: int, chosen: Settings) -> tuple[pa.Table, Faults]:
    """Return the packets as delivered columns (all rows), and which of them are refused."""
    faults = Faults(rows)
    get = _Attributes(columns, rows, faults)
    status, session = get.text("Acct-Status-Type"), get.text("Acct-Session-Id")
    faults.add(status.is_null(), RejectReason.MISSING_FIELD, "Acct-Status-Type")
    event = _mapped(status, _STATUS.get)
    faults.add(event.is_null(), RejectReason.UNSUPPORTED)
    faults.add(session.is_null(), RejectReason.MISSING_FIELD, "Acct-Session-Id")
    closes, opens = _equals(event, Event.CLOSE.value), _equals(event, Event.OPEN.value)
    not_open, not_close = compute.invert(opens), compute.invert(closes)

    at = _event_time(get, chosen, faults)
    seconds = fill(get.number("Acct-Session-Time", OCTETS_MAX), None, opens)
    setup, connect = _h323(get, chosen, at, closes)
    begun = compute.coalesce(setup, compute.subtract(at, compute.multiply(seconds, 1_000_000)))
    faults.add(compute.less(begun, 0), RejectReason.BAD_FIELD, "Acct-Session-Time")
    duration = compute.multiply(seconds, 1000)
    connected = compute.divide(compute.subtract(at, connect), 1000)

    nas_names = ("NAS-IP-Address", "NAS-IPv6-Address", "NAS-Identifier", "Packet-Src-IP-Address", "Client-IP-Address")
    nas = compute.coalesce(*(get.text(name) for name in nas_names), pa.repeat(chosen.element, rows))
    event_second = compute.cast(compute.divide(at, 1_000_000), pa.string())
    timed = pa.repeat(chosen.ids_reused, rows)
    timed = compute.or_(timed, _equals(event, Event.UPDATE.value))
    key = compute.if_else(timed, compute.binary_join_element_wise(session, event_second, " "), session)
    party = _parties(get)
    acme = compute.coalesce(get.text("Acme-Session-Ingress-Realm"), get.text("Acme-Session-Egress-Realm"))
    voice = compute.coalesce(acme, get.text("h323-conf-id"), get.text("h323-setup-time"), party.sip).is_valid()
    answered = compute.if_else(compute.greater(compute.fill_null(seconds, 0), 0), "answered", "failed")
    service = compute.if_else(voice, "voip", "data")
    table = {
        "event": event,
        "session_key": compute.binary_join_element_wise(nas, session, " "),
        "record_key": key,
        "switch": nas,
        "service_type": service if chosen.service_type is None else pa.repeat(chosen.service_type, rows),
        "calling_number": party.calling,
        "calling_number_delivered": party.calling_delivered,
        "called_number": party.called,
        "called_number_delivered": party.called_delivered,
        "start_time": _time(compute.if_else(not_open, begun, at)),
        "answer_time": _time(connect),
        "end_time": _time(fill(at, None, not_close)),
        "duration_ms": duration,
        "billable_duration_ms": compute.coalesce(connected, duration),
        "source_ip": compute.coalesce(get.text("Framed-IP-Address"), get.text("Framed-IPv6-Address")),
        "destination_ip": get.labelled("h323-remote-address"),
        "ipv6_prefix": compute.coalesce(get.text("Delegated-IPv6-Prefix"), get.text("Framed-IPv6-Prefix")),
        "imsi": get.text("3GPP-IMSI"),
        "imei": get.text("3GPP-IMEISV"),
        "mac": party.mac,
        "cell_id": _hexadecimal(compute.coalesce(get.text("3GPP-User-Location-Info"), get.text("3GPP-Location-Info"))),
        "volume_up_bytes": get.octets("Acct-Input-Octets", "Acct-Input-Gigawords"),
        "volume_down_bytes": get.octets("Acct-Output-Octets", "Acct-Output-Gigawords"),
        "disposition": fill(compute.if_else(voice, answered, "closed"), None, not_close),
        "cause": compute.coalesce(_q850(get.labelled("h323-disconnect-cause")), get.text("Acct-Terminate-Cause")),
        "trunk_in": compute.coalesce(get.text("Acme-Session-Ingress-Realm"), get.text("NAS-Port-Id")),
        "trunk_out": get.text("Acme-Session-Egress-Realm"),
        "call_link": compute.coalesce(
            get.labelled("h323-conf-id"), get.text("Acme-Session-Ingress-CallId"), get.text("Acct-Multi-Session-Id")
        ),
        "account": get.text("User-Name"),
    }
    if chosen.tenant_from_realm:
        table["tenant"] = _realm(get.text("User-Name"))
    return pa.table(table), faults


class _Attributes:
    """The attributes of a stretch, by name; what is absent is null, what is no figure is told in `faults`."""

    def __init__(self, columns: Mapping[str, Column], rows: int, faults: Faults) -> None:
        self._columns, self._rows, self._faults = columns, rows, faults

    def text(self, name: str) -> Column:
        """Return an attribute as text, null where it is empty."""
        assert name in ATTRIBUTES  # our own spelling
        column = self._columns.get(name)
        return pa.nulls(self._rows, pa.string()) if column is None else empty_to_null(column)

    def labelled(self, name: str) -> Column:
        """Return a Cisco attribute, which may carry its own name before the value."""
        column = self.text(name)
        return column if name not in self._columns else compute.replace_substring(column, f"{name}=", "")

    def number(self, name: str, maximum: int) -> Column:
        """Return an attribute as int64, null where it is absent."""
        column = self.text(name)
        if name not in self._columns:
            return column.cast(pa.int64())
        if not _is_figures(column):
            good = compute.match_substring_regex(column, f"^[0-9]{{1,{_DIGITS_MAX}}}$")
            self._faults.add(compute.invert(good), RejectReason.BAD_FIELD, name)
            column = compute.if_else(good, column, pa.scalar(None, pa.string()))
        value = compute.cast(column, pa.int64())
        over = compute.greater(value, maximum)
        if not compute.any(over).as_py():
            return value
        self._faults.add(over, RejectReason.BAD_FIELD, name)
        return compute.if_else(over, pa.scalar(None, pa.int64()), value)

    def octets(self, low: str, high: str) -> Column:
        """Return octets with their gigawords, null where neither is there."""
        octets, gigawords = self.number(low, OCTETS_MAX), self.number(high, GIGAWORDS_MAX)
        if high not in self._columns:
            return octets
        total = compute.add(
            compute.fill_null(octets, 0), compute.multiply(compute.fill_null(gigawords, 0), OCTETS_MAX + 1)
        )
        return fill(total, None, compute.and_(octets.is_null(), gigawords.is_null()))


def _is_figures(column: Column) -> bool:
    """Tell whether all texts of a column are digits, and not too many."""
    offsets, data = text_views(column)
    longest = int((offsets[1:] - offsets[:-1]).max(initial=0))
    return longest <= _DIGITS_MAX and int((data - np.uint8(_ZERO)).max(initial=0)) <= _NINE


class _Parties(NamedTuple):
    calling: Column
    calling_delivered: Column
    called: Column
    called_delivered: Column
    mac: Column
    sip: Column  # not null where a party is a SIP URI


def _parties(get: _Attributes) -> _Parties:
    """Return who calls whom, and from which equipment."""
    user, caller = get.text("User-Name"), get.text("Calling-Station-Id")
    caller_mac, user_mac = _mac(caller), _mac(user)
    caller, caller_delivered = _sip(fill(caller, None, caller_mac.is_valid()))
    user = fill(user, None, user_mac.is_valid())
    called, called_delivered = _sip(get.text("Called-Station-Id"))
    return _Parties(
        compute.coalesce(caller, user),
        caller_delivered,
        called,
        called_delivered,
        compute.coalesce(caller_mac, user_mac),
        compute.coalesce(caller_delivered, called_delivered, *(_sip_only(one) for one in (caller, called))),
    )


def _sip_only(column: Column) -> Column:
    return fill(column, None, compute.invert(compute.fill_null(compute.starts_with(column, "sip"), False)))


def _sip(column: Column) -> tuple[Column, Column]:
    """Return parties without display name and tag, and the URIs whose telephone number took their place."""
    spoken = compute.fill_null(compute.match_substring(column, "sip"), False)
    if not compute.any(spoken).as_py():
        return column, pa.nulls(len(column), pa.string())
    pairs = [(text, None) if text is None or "sip" not in text else party_of(text) for text in column.to_pylist()]
    return pa.array([one for one, _ in pairs], pa.string()), pa.array([uri for _, uri in pairs], pa.string())


def party_of(text: str) -> tuple[str, str | None]:
    """Return (number, URI) of a SIP URI that means a telephone, (URI, None) of another one.

    Source: RFC 3261 section 19.1.6 (a telephone number in the user part), RFC 3966 section 3.
    """
    found = _SIP.search(text)
    if found is None:
        return text, None
    uri, user, parameters = found.groups()
    digits = (user or "").removeprefix("+")
    telephone = digits.isdecimal() and digits.isascii() and len(digits) <= 18
    if telephone and (len(digits) > 6 or "user=phone" in (parameters or "")):
        return str(user), uri
    return uri, None


def _mac(column: Column) -> Column:
    """Return MAC addresses in one form, null for anything else (twelve digits alone may be a number)."""
    if not np.isin(_lengths(column), _MAC_BYTES).any():
        return pa.nulls(len(column), pa.string())
    written = compute.fill_null(compute.match_substring_regex(column, _MAC), False)
    if not compute.any(written).as_py():
        return pa.nulls(len(column), pa.string())
    bare = compute.utf8_lower(compute.replace_substring_regex(column, "[-:.]", ""))
    return fill(compute.replace_substring_regex(bare, _BARE_MAC, r"\1:\2:\3:\4:\5:\6"), None, compute.invert(written))


def _realm(column: Column) -> Column:
    """Return what stands behind the last @, null where nothing does."""
    offsets, data = text_views(column)
    signs = np.append(np.flatnonzero(data == _AT), -1)  # the last one is found where none is before
    last = signs[np.searchsorted(signs[:-1], offsets[1:]) - 1]
    there = (last >= offsets[:-1]) & (last < offsets[1:] - 1)
    return gather(data, np.where(there, last + 1, -1), offsets[1:].astype(np.int64))


def _lengths(column: Column) -> Ints:
    offsets, _ = text_views(column)
    return offsets[1:] - offsets[:-1]


def _event_time(get: _Attributes, chosen: Settings, faults: Faults) -> Column:
    """Return the event's time in µs: Event-Timestamp, else Timestamp less Acct-Delay-Time."""
    written = get.text("Event-Timestamp")
    told = moments_us(written, chosen.zone)
    faults.add(compute.and_(written.is_valid(), told.is_null()), RejectReason.BAD_TIME, "Event-Timestamp")
    received = compute.subtract(
        get.number("Timestamp", 99_999_999_999), compute.fill_null(get.number("Acct-Delay-Time", OCTETS_MAX), 0)
    )
    at = compute.coalesce(told, compute.multiply(received, 1_000_000))
    faults.add(at.is_null(), RejectReason.MISSING_FIELD, "Event-Timestamp")
    return at


def _h323(get: _Attributes, chosen: Settings, at: Column, closes: Column) -> tuple[Column, Column]:
    """Return start and answer by the end and the differences of Cisco's clock; null where one is missing."""
    if get.text("h323-disconnect-time").null_count == len(at):
        return pa.nulls(len(at), pa.int64()), pa.nulls(len(at), pa.int64())

    def clock_us(name: str) -> Column:
        return _mapped_int(get.text(name), lambda text: h323_us(text, chosen.zone))

    disconnect = fill(clock_us("h323-disconnect-time"), None, compute.invert(closes))

    def before_end(name: str) -> Column:
        earlier = compute.subtract(disconnect, clock_us(name))
        return compute.if_else(compute.greater_equal(earlier, 0), compute.subtract(at, earlier), None)

    return before_end("h323-setup-time"), before_end("h323-connect-time")


def _q850(column: Column) -> Column:
    """Return hexadecimal causes in decimal; what is not hexadecimal stays."""

    def decimal(text: str) -> str:
        return str(int(text, 16)) if re.fullmatch(r"[0-9A-Fa-f]{1,4}", text) else text

    return _mapped(column, decimal)


def _hexadecimal(column: Column) -> Column:
    """Return octets (`0x8212F9…`) as lower-case hexadecimal without the prefix."""
    prefixed = compute.starts_with(column, "0x")
    return compute.utf8_lower(compute.if_else(prefixed, compute.utf8_slice_codeunits(column, 2), column))


def _mapped(column: Column, function: Callable[[str], str | None]) -> Column:
    """Return `function` of each distinct text."""
    return _mapped_to(column, function, pa.string())


def _mapped_int(column: Column, function: Callable[[str], int | None]) -> Column:
    return _mapped_to(column, function, pa.int64())


def _mapped_to(column: Column, function: Callable[[str], Any], kind: pa.DataType) -> Column:
    encoded = column.dictionary_encode()
    values = [None if text is None else function(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(values, kind).take(encoded.indices)


def _equals(column: Column, text: str) -> Column:
    return compute.fill_null(compute.equal(column, text), False)


def _time(microseconds: Column) -> Column:
    return compute.cast(microseconds, TIME_TYPE)
