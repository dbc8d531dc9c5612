"""Targets as orders write them, made into the values that the store is searched by. Pure.

A number may be written as E.164 digits, with `+`, with `00`, or nationally with the order's country; an IMEI with or
without its check digit; a MAC address with any separator. The approver sees the value that is searched for.

Two kinds of values have the form and are refused all the same, for their answer would be signed and wrong: a number
that nobody has (the national prefix between country code and number: +46 070...), and what stands where an identifier
is withheld or missing (`anonymous`, zeros, 0.0.0.0), which names everybody of whom that was written.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import date
from typing import Final

import pyarrow as pa

from api.billing.subscriptions import KINDS
from api.disclosure.model import Target
from schemas.errors import ProcedureError
from schemas.legal_bases import TARGET_KINDS
from schemas.misplaced_prefixes import without_misplaced_prefix
from schemas.numbers import read_number, rules, spoiled

TEXT_CHARACTERS_MAX: Final = 255
IMEI_DIGITS: Final = 14

_NUMBER: Final = re.compile(r"\d{2,18}|sips?:[^\s@]+@\S+|[^\s\x00-\x1f]{1,64}")
_IMSI: Final = re.compile(r"\d{5,15}")
_IMEI: Final = re.compile(r"\d{14,16}")
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
_MAC_DIGITS: Final = re.compile(r"[0-9a-f]{12}")
_SEPARATORS: Final = re.compile(r"[\s./:_-]")
_SCHEME: Final = re.compile(r"(?:sips?|tel|h323):", re.IGNORECASE)
_NOBODY: Final = frozenset(
    {
        *("anonymous", "asserted-id-unavailable", "blocked", "invalid", "n/a", "nan", "nil", "none", "null"),
        *("private", "restricted", "unavailable", "undefined", "unknown", "withheld"),
    }
)
"""User parts that stand for no user (RFC 3323 §4.1, and what switches write)."""
_ONE_DIGIT: Final = re.compile(r"(\d)\1*")
_NO_STATION: Final = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
_INNER: Final = tuple(
    ipaddress.ip_network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


def normalise_target(
    kind: str,
    written: str,
    *,
    country: str,
    port: int | None = None,
    held_on: str | None = None,
    tenant: str | None = None,
    element: str | None = None,
) -> Target:
    """Return the target of an order's words.

    Raises:
        ProcedureError: reason `target-kind`: no such kind; `bad-target`: the value does not have its kind's form;
            `national-prefix`: it stands behind a country code; `nobody`: the value stands for no one's.
        ConfigurationError: the country has no number rules.
    """
    if kind not in TARGET_KINDS:
        hint = f"the kinds are {', '.join(sorted(TARGET_KINDS))}"
        raise ProcedureError("there is no such kind of target", reason="target-kind", hint=hint)
    text = written.strip()
    if not text or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
        raise _bad(kind)
    if port is not None and (kind != "ip" or not 0 <= port <= 65_535):
        raise _bad(kind)
    if held_on is not None and (kind not in KINDS or not _is_date(held_on)):
        raise _bad(kind)
    if tenant is not None and (kind not in ("account", "ip") or not _TENANT.fullmatch(tenant)):
        raise _bad(kind)
    if element is not None and (
        kind != "ip" or not 0 < len(element) <= TEXT_CHARACTERS_MAX or not element.isprintable()
    ):
        raise _bad(kind)
    value = _value(kind, text, country)
    if _is_nobodys(kind, value):
        raise ProcedureError(f"a target stands for nobody in particular ({kind})", reason="nobody")
    if kind == "number" and without_misplaced_prefix(value) is not None:
        raise ProcedureError(
            "a number has the national prefix behind its country code",
            reason="national-prefix",
            hint="write it without that prefix, or nationally: +46 70..., or 070...",
        )
    return Target(kind, value, text, port, held_on, tenant, element)


def is_inner(value: str) -> bool:
    """Tell whether every network gives out an address anew, so that it says nothing without its network.

    Source: RFC 1918, 4193, 6598; RFC 3927 and 4291 §2.5.6 for what a link gives out.
    """
    address = ipaddress.ip_address(value)
    return address.is_link_local or any(address.version == net.version and address in net for net in _INNER)


def require_networks(targets: Iterable[Target]) -> None:
    """An address that every network gives out anew names its network's owner.

    Raises:
        ProcedureError: reason `inner-address`.
    """
    if any(target.kind == "ip" and target.tenant is None and is_inner(target.value) for target in targets):
        raise ProcedureError(
            "an address of an inner network is many persons'",
            reason="inner-address",
            hint="the order says whose network (tenant), or names the public address with port and time",
        )


def _is_nobodys(kind: str, value: str) -> bool:
    if kind in ("number", "account"):
        user = _SCHEME.sub("", value, count=1).partition("@")[0].strip("<>\"' ").casefold()
        return user in _NOBODY or (len(user) > 3 and not user.strip("0"))  # 000 is called in earnest
    if kind in ("imsi", "imei"):
        return _ONE_DIGIT.fullmatch(value) is not None
    if kind == "mac":
        return value in _NO_STATION
    address = ipaddress.ip_address(value)
    return address.is_unspecified or address.is_loopback or address.is_multicast or value == "255.255.255.255"


def _value(kind: str, text: str, country: str) -> str:
    if kind == "number":
        if spoiled(pa.array([text])) is not None:
            raise _bad(kind)  # digits that a spreadsheet has changed are no number, and no record holds them
        return _matched(kind, _NUMBER, read_number(text, rules(country)))
    if kind == "imsi":
        return _matched(kind, _IMSI, _SEPARATORS.sub("", text))
    if kind == "imei":
        return _matched(kind, _IMEI, _SEPARATORS.sub("", text))[:IMEI_DIGITS]
    if kind == "mac":
        digits = _matched(kind, _MAC_DIGITS, _SEPARATORS.sub("", text.lower()))
        return ":".join(digits[index : index + 2] for index in range(0, 12, 2))
    if kind == "ip":
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise _bad(kind) from None
        # The store keeps an IPv4 address as one, however it was written; a zone is no part of an address.
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id is not None:
                raise _bad(kind)
            address = address.ipv4_mapped or address
        return str(address)
    return text


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _matched(kind: str, form: re.Pattern[str], value: str) -> str:
    if not value.isascii() or not form.fullmatch(value):
        raise _bad(kind)
    return value


def _bad(kind: str) -> ProcedureError:
    return ProcedureError(f"a target does not have the form of its kind ({kind})", reason="bad-target")
