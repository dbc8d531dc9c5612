"""Entries and leaves: what a leaf says, how it is written, how its secret part is sealed. Pure.

A leaf is one line of canonical JSON (RFC 8259, keys sorted, no spaces) with the members

    group    index of the first leaf of its append: one checkpoint is signed per group
    index    its own index in the log, from 0
    kind     a stable word, `area.what`
    public   what anybody who holds the log may read: never personal data
    secret   absent, or {"box": base64, "key": key reference}: sealed JSON that only auditors open
    time_us  microseconds since 1970-01-01T00:00:00Z

The tree is built over these octets, so over ciphertext: the log is verified without any key. Every member but the box,
and the store's identity, are the box's associated data: a box moved to another leaf or another store does not open.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import orjson

from schemas.errors import AuditError, ConfigurationError, IntegrityError, KeyUnavailableError
from store.clock import to_date
from store.keys import KeyRef, Keyring, seal, unseal

LEAF_BYTES_MAX: Final = 1 << 20
EPOCH_KIND: Final = "audit.epoch"
"""The only kind that the log itself writes, and that nobody else may append."""

SEGMENT_EXPIRED: Final = "audit.segment-expired"
"""Of a segment that lost the entries that do not outlive it (`store.audit.expiring`)."""

_KIND: Final = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)*")
_MEMBERS: Final = frozenset({"group", "index", "kind", "public", "time_us"})
_TIME_US_END: Final = 253_402_300_800_000_000
"""The year 10000 begins; no clock tells a later time."""
_PURPOSE: Final = "lagrum audit entry v1"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What to log. `public` carries no personal data; `secret` is read by auditors only."""

    kind: str
    public: Mapping[str, Any]
    secret: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """What was logged.

    `secret` is None unless it was asked for, was there, and its key still is. `sealed` says that there is one;
    `key_destroyed` that nobody can open it any more.
    """

    index: int
    time_us: int
    kind: str
    public: dict[str, Any]
    secret: dict[str, Any] | None
    sealed: bool
    key_destroyed: bool
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf, parsed and not yet believed."""

    index: int
    group: int
    time_us: int
    kind: str
    public: dict[str, Any]
    key: str | None
    box: bytes | None


def month_of(time_us: int) -> date:
    """Return the first day of the calendar month (UTC)."""
    return to_date(time_us).replace(day=1)


def entry_key(month: date) -> KeyRef:
    """Return the key under which a month's secret parts are sealed."""
    return KeyRef("audit", month.isoformat(), "entries", "shared")


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _associated(store_id: str, members: Mapping[str, Any], key: str) -> bytes:
    return _canonical({"purpose": _PURPOSE, "store": store_id, "key": key, **members})


def check_entry(entry: AuditEntry) -> None:
    """Refuse an entry that cannot be written.

    Raises:
        AuditError: its kind is malformed or reserved, or its parts are not JSON.
    """
    if not _KIND.fullmatch(entry.kind) or entry.kind == EPOCH_KIND:
        raise AuditError("the kind of an audit entry is malformed or reserved")
    for part in (entry.public, entry.secret):
        if part is None:
            continue
        try:
            written = _canonical(dict(part))
        except TypeError as e:
            raise AuditError("an audit entry cannot be written as JSON") from e
        if len(written) > LEAF_BYTES_MAX // 2:
            raise AuditError("an audit entry is too large", hint=f"each part has at most {LEAF_BYTES_MAX // 2} octets")


def encode_leaf(entry: AuditEntry, *, index: int, group: int, time_us: int, store_id: str, keyring: Keyring) -> bytes:
    """Return the leaf's octets; the secret part is sealed under the key of the entry's month.

    Raises:
        KeyUnavailableError: the keyring does not hold that key.
    """
    members: dict[str, Any] = {
        "group": group,
        "index": index,
        "kind": entry.kind,
        "public": dict(entry.public),
        "time_us": time_us,
    }
    if entry.secret is None:
        return _canonical(members)
    ref = entry_key(month_of(time_us))
    box = seal(keyring.key(ref), _canonical(dict(entry.secret)), _associated(store_id, members, str(ref)))
    return _canonical({**members, "secret": {"box": base64.b64encode(box).decode(), "key": str(ref)}})


def _box(value: object) -> tuple[str | None, bytes | None]:
    if value is None:
        return None, None
    match value:
        case {"box": str(box), "key": str(key), **rest} if not rest:
            return key, base64.b64decode(box, validate=True)
    raise ValueError("secret part")


def decode_leaf(octets: bytes) -> Leaf:
    """Return what a leaf says.

    Raises:
        IntegrityError: it is not a leaf in canonical form.
    """
    try:
        value = orjson.loads(octets)
        if not isinstance(value, dict) or _canonical(value) != octets or set(value) - {"secret"} != _MEMBERS:
            raise ValueError("members")
        key, box = _box(value.get("secret"))
    except (ValueError, binascii.Error) as e:
        raise IntegrityError("a leaf is not canonical JSON with the members of a leaf") from e
    numbers = [value[name] for name in ("index", "group", "time_us")]
    if any(type(n) is not int or not 0 <= n < _TIME_US_END for n in numbers):
        raise IntegrityError("a leaf's numbers are none, or out of range")
    match value:
        case {"kind": str(kind), "public": dict(public)}:
            index, group, time_us = numbers
            return Leaf(index, group, time_us, kind, public, key, box)
    raise IntegrityError("a leaf's members have the wrong types")


def open_entry(leaf: Leaf, octets: bytes, *, store_id: str, keyring: Keyring | None) -> StoredEntry:
    """Return the stored entry; its secret part too, if a keyring is given and still holds the key.

    Raises:
        IntegrityError: the secret part does not authenticate.
    """
    secret: dict[str, Any] | None = None
    destroyed = False
    if leaf.box is not None and leaf.key is not None and keyring is not None:
        members = {
            "group": leaf.group,
            "index": leaf.index,
            "kind": leaf.kind,
            "public": leaf.public,
            "time_us": leaf.time_us,
        }
        try:
            key = keyring.key(entry_key_of(leaf.key))
        except KeyUnavailableError:
            destroyed = True
        else:
            secret = orjson.loads(unseal(key, leaf.box, _associated(store_id, members, leaf.key)))
    return StoredEntry(
        index=leaf.index,
        time_us=leaf.time_us,
        kind=leaf.kind,
        public=leaf.public,
        secret=secret,
        sealed=leaf.box is not None,
        key_destroyed=destroyed,
        leaf=octets,
    )


def entry_key_of(text: str) -> KeyRef:
    """Return the key that a leaf names.

    Raises:
        IntegrityError: it is no key for audit entries.
    """
    try:
        ref = KeyRef.parse(text)
    except ConfigurationError as e:
        raise IntegrityError("a leaf names no key") from e
    if (ref.kind, ref.name) != ("audit", "entries"):
        raise IntegrityError("a leaf names a key that is none of the audit log's")
    return ref
