"""Which column of an Acme Packet CSV row holds which RADIUS attribute: the known layout, and what a source says.

Source: Oracle Communications Session Border Controller Accounting Guide, the CSV file contents; release C6.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError

START, STOP, INTERIM = "1", "2", "3"

_COMMON: Final = {
    "NAS-IP-Address": 2,
    "Acct-Session-Id": 4,
    "Acme-Session-Ingress-CallId": 5,
    "Calling-Station-Id": 10,
    "Called-Station-Id": 11,
}
FIELD_MAPS: Final[dict[str, dict[str, int]]] = {
    START: {
        **_COMMON,
        "h323-setup-time": 12,
        "h323-connect-time": 13,
        "Acme-Session-Egress-Realm": 18,
        "Acme-Session-Ingress-Realm": 19,
        "Acme-Flow-In-Src-Addr": 23,
        "Acme-Flow-In-Src-Port": 24,
        "Acme-Flow-Out-Dst-Addr": 30,
        "Acme-Flow-Out-Dst-Port": 31,
        "Acme-P-Asserted-ID": 78,
        "Acme-SIP-Diversion": 83,
    },
    INTERIM: _COMMON,
    STOP: {
        **_COMMON,
        "Acct-Terminate-Cause": 12,
        "Acct-Session-Time": 13,
        "h323-setup-time": 14,
        "h323-connect-time": 15,
        "h323-disconnect-time": 16,
        "h323-disconnect-cause": 17,
        "Acme-Session-Egress-Realm": 22,
        "Acme-Session-Ingress-Realm": 23,
        "Acme-Flow-In-Src-Addr": 27,
        "Acme-Flow-In-Src-Port": 28,
        "Acme-Flow-Out-Dst-Addr": 34,
        "Acme-Flow-Out-Dst-Port": 35,
        "Acme-Calling-Octets": 44,
        "Acme-Called-Octets": 68,
        "Acme-P-Asserted-ID": 126,
        "Acme-SIP-Diversion": 131,
        "Acme-SIP-Status": 135,
    },
}
"""1-based column of each attribute that is read, by Acct-Status-Type."""

OPTIONS: Final = ("start", "interim", "stop", "widths")
_TYPE_OF: Final = {"start": START, "interim": INTERIM, "stop": STOP}
_NEEDED: Final = {
    "start": ("Acct-Session-Id", "h323-setup-time"),
    "interim": ("Acct-Session-Id",),
    "stop": ("Acct-Session-Id", "h323-disconnect-time"),
}
_KNOWN: Final = frozenset(name for places in FIELD_MAPS.values() for name in places)
_PLACE_MAX: Final = 1024


def field_maps(source: SourceConfig) -> dict[str, dict[str, int]]:
    """Return the field map of each Acct-Status-Type.

    Raises:
        ConfigurationError: an option is no field map, names an attribute that is not read, or lacks one that is needed.
    """
    return {number: _field_map(source.options, word) for word, number in _TYPE_OF.items()}


def _field_map(options: Mapping[str, str], word: str) -> dict[str, int]:
    text = options.get(word)
    if text is None:
        return FIELD_MAPS[_TYPE_OF[word]]
    places: dict[str, int] = {}
    for item in text.split(","):
        place, _, name = item.strip().partition("=")
        name = name.strip()
        if name not in _KNOWN or name in places or not _is_place(place.strip()):
            raise ConfigurationError(
                f"option {word} is no field map",
                hint=f"write column=attribute with commas between; attributes are {', '.join(sorted(_KNOWN))}",
            )
        places[name] = int(place)
    if missing := [name for name in _NEEDED[word] if name not in places]:
        raise ConfigurationError(f"option {word} lacks {missing[0]}")
    return places


def widths(source: SourceConfig) -> dict[str, int]:
    """Return how many columns rows of an Acct-Status-Type have, as far as the source says.

    Raises:
        ConfigurationError: the option is no list of type=columns.
    """
    found: dict[str, int] = {}
    for item in source.options.get("widths", "").split(","):
        number, _, count = item.strip().partition("=")
        if not item.strip():
            continue
        number = _TYPE_OF.get(number.strip().lower(), number.strip())
        if number not in FIELD_MAPS or not _is_place(count.strip()):
            raise ConfigurationError("option widths is no list of type=columns", hint="for example start=180,stop=269")
        found[number] = int(count)
    return found


def _is_place(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,4}", text) is not None and 1 <= int(text) <= _PLACE_MAX
