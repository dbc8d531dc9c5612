"""Values of FreeSWITCH variables: whether they are URL-encoded, what of them may be kept, what zone they tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import orjson

from ingest.times import parse_iso
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason

# Where FreeSWITCH encodes a value, none of these is left in it.
_UNSAFE: Final = re.compile(r'[\r\n "#&+:;<=>?@\[\\\]^`{|}]')
_STAMPS: Final = ("start_stamp", "end_stamp", "answer_stamp", "profile_start_stamp")
_ADDRESSES: Final = ("channel_name", "sip_from_uri", "sip_to_uri", "sip_req_uri", "sip_contact_uri")
_PLUS: Final = re.compile(r"%2B[0-9]+")

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 (naive on purpose: the wall clock)

_KEPT_CHARACTERS_MAX: Final = 256
_KEPT: Final = frozenset(
    {f"{word}_{form}" for word in ("start", "answer", "end") for form in ("uepoch", "epoch", "stamp")}
    | {"mduration", "uduration", "duration", "billmsec", "billusec", "billsec", "hangup_cause", "hangup_cause_q850"}
    | {"uuid", "call_uuid", "originator", "originating_leg_uuid", "direction", "accountcode", "domain_name"}
    | {"channel_name", "sip_gateway_name", "sip_gateway", "sip_network_ip", "sip_network_port", "sip_reply_host"}
    | {"sip_from_user", "sip_to_user", "sip_user_agent"}
)
_KEPT_PROFILE: Final = frozenset({"caller_id_number", "ani", "rdnis", "destination_number", "network_addr", "uuid"})
_KEPT_TIMES: Final = frozenset({"created_time", "answered_time", "hangup_time"})


class Refusal(Exception):  # noqa: N818 (it never leaves the decoder)
    """One body cannot become a record; it carries what the reject will say."""

    def __init__(self, reason: RejectReason, field: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def encoding_option(text: str) -> bool | None:
    """Return the option `encode_values`: True, False, or None for auto.

    Raises:
        ConfigurationError: it is none of auto, yes and no.
    """
    options = {"auto": None, "yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in options:
        raise ConfigurationError("option encode_values is none of auto, yes and no")
    return options[text.lower()]


def is_encoded(variables: dict[str, Any]) -> bool | None:
    """Tell whether a body's values are URL-encoded (`encode-values`), by evidence in the body; None when there is none.

    1. A time stamp always holds a space and colons: as they are, nothing is encoded; as %20 and %3A, everything is.
    2. A character that encoding never leaves (space, colon, plus, @, …) in any value: nothing is encoded.
    3. A channel name or SIP URI that holds %40 or %3A, and no @ or colon: everything is encoded.
    4. Otherwise nothing can be told, and values stay as they are; `100%25` may mean just that. Only a number that is
       written `%2B` and digits, which no other number is, becomes `+` and digits.
    """
    for name in _STAMPS:
        stamp = variables.get(name)
        if type(stamp) is str and stamp:
            if " " in stamp or ":" in stamp:
                return False
            if "%20" in stamp and "%3A" in stamp:
                return True
    if any(type(value) is str and _UNSAFE.search(value) for value in variables.values()):
        return False
    for name in _ADDRESSES:
        address = variables.get(name)
        if type(address) is str and ("%40" in address or "%3A" in address):
            return True
    return None


def decoder_of(option: bool | None, variables: dict[str, Any]) -> Callable[[Any], Any]:
    """Return the function that makes a body's values plain: `option` decides, else `is_encoded`."""
    encoded = is_encoded(variables) if option is None else option
    if encoded:
        return _decoded
    return _as_it_is if encoded is False else _with_plus


def _as_it_is(value: Any) -> Any:
    return value


def _with_plus(value: Any) -> Any:
    return "+" + value[3:] if type(value) is str and _PLUS.fullmatch(value) else value


def _decoded(value: Any) -> Any:
    return _unquoted(value) if type(value) is str and "%" in value else value


@lru_cache(65_536)
def _unquoted(value: str) -> str:
    return unquote(value)


def kept(document: dict[str, Any]) -> bytes | None:
    """Return what of a refused body is kept for replay: named variables and profile fields, as delivered.

    Everything else may be content (SDP, headers, message text) and is dropped here.
    """
    variables = document.get("variables")
    flow = document.get("callflow")
    entries = [entry for entry in (flow if type(flow) is list else [flow]) if type(entry) is dict]
    ends = entries[:1] + entries[1:][-1:]
    part: dict[str, Any] = {
        "switchname": document.get("switchname") if _short(document.get("switchname")) else None,
        "variables": _only(variables, _KEPT),
        "callflow": [
            {
                "caller_profile": _only(entry.get("caller_profile"), _KEPT_PROFILE),
                "times": _only(entry.get("times"), _KEPT_TIMES),
            }
            for entry in ends
        ],
    }
    return orjson.dumps(part)


def _only(fields: Any, names: frozenset[str]) -> dict[str, str]:
    if type(fields) is not dict:
        return {}
    return {name: value for name, value in fields.items() if name in names and _short(value)}


def _short(value: Any) -> bool:
    return type(value) is str and len(value) <= _KEPT_CHARACTERS_MAX


def utc_offset_s(stamp: Any, start_us: int) -> int | None:
    """Return the offset of the switch's local time: its start stamp less the start, in quarters of an hour."""
    if type(stamp) is not str:
        return None
    minute_s = _minute_s(stamp[:-2])
    seconds = stamp[-2:]
    if minute_s is None or not seconds.isdecimal():
        return None
    offset = round((minute_s + int(seconds) - start_us // 1_000_000) / 900) * 900
    return offset if abs(offset) <= 50_400 else None


@lru_cache(4096)
def _minute_s(stamp: str) -> int | None:
    """Return seconds since 1970 on the local clock of `YYYY-MM-DD HH:MM:`, URL-encoded or not."""
    wall = parse_iso(unquote(stamp) + "00")
    return None if wall is None else int((wall - _EPOCH).total_seconds())
