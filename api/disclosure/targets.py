"""Targets as orders write them, made into the values that the store is searched by. Pure.

A number may be written as E.164 digits, with `+`, with `00`, or nationally with the order's country; an IMEI with or
without its check digit; a MAC address with any separator. The approver sees the value that is searched for.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from typing import Final

import pyarrow as pa

from api.billing.subscriptions import KINDS
from api.disclosure.model import Target
from schemas.errors import ProcedureError
from schemas.legal_bases import TARGET_KINDS
from schemas.numbers import normalise_number, rules, spoiled

TEXT_CHARACTERS_MAX: Final = 255
IMEI_DIGITS: Final = 14

_NUMBER: Final = re.compile(r"\d{2,18}|sips?:[^\s@]+@\S+|[^\s\x00-\x1f]{1,64}")
_IMSI: Final = re.compile(r"\d{5,15}")
_IMEI: Final = re.compile(r"\d{14,16}")
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{0,64}")
_MAC_DIGITS: Final = re.compile(r"[0-9a-f]{12}")
_SEPARATORS: Final = re.compile(r"[\s./:_-]")


def normalise_target(
    kind: str,
    written: str,
    *,
    country: str,
    port: int | None = None,
    held_on: str | None = None,
    tenant: str | None = None,
) -> Target:
    """Return the target of an order's words.

    Raises:
        ProcedureError: reason `target-kind`: no such kind; `bad-target`: the value does not have its kind's form.
        ConfigurationError: the country has no number rules.
    """
    if kind not in TARGET_KINDS:
        raise ProcedureError("there is no such kind of target", reason="target-kind")
    text = written.strip()
    if not text or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
        raise _bad(kind)
    if port is not None and (kind != "ip" or not 0 <= port <= 65_535):
        raise _bad(kind)
    if held_on is not None and (kind not in KINDS or not _is_date(held_on)):
        raise _bad(kind)
    if tenant is not None and (kind != "account" or not _TENANT.fullmatch(tenant)):
        raise _bad(kind)
    return Target(kind, _value(kind, text, country), text, port, held_on, tenant)


def _value(kind: str, text: str, country: str) -> str:
    if kind == "number":
        if spoiled(pa.array([text])) is not None:
            raise _bad(kind)  # digits that a spreadsheet has changed are no number, and no record holds them
        return _matched(kind, _NUMBER, normalise_number(text, rules(country)))
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
