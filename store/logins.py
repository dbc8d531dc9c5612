"""The authentication log: who was recognised or refused and when, sealed under a key of the day, gone after 30 days.

It is not the audit log: nothing in it is provable, and all of it leaves. A day's key is destroyed first, then its rows,
so a crash between the two leaves nothing that can be read.

Source: the operator's privacy policy (authentication requests: up to 30 days on a system level, secrets never).
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from store.audit import AuditEntry
from store.clock import to_date
from store.keys import KeyRef, derive, seal, unseal

if TYPE_CHECKING:
    from store.store import Store

KEEP_DAYS: Final = 30
KEY_KIND: Final = "logins"
TAG_BYTES: Final = 8


def add(store: Store, day: date, entries: Sequence[dict[str, Any]]) -> None:
    """Keep entries of a day, durable at return.

    Raises:
        BusyError: the catalog or a replica of the keyring does not take them.
    """
    if not entries:
        return
    ref = _ref(day)
    store.keyring.ensure([ref])
    row_id = secrets.token_hex(8)
    blob = seal(derive(store.keyring.key(ref), "logins"), json.dumps(list(entries)).encode(), _aad(store, day, row_id))
    with store.catalog.transaction() as cursor:
        cursor.execute("INSERT INTO logins VALUES (?, ?, ?, ?)", (row_id, day.isoformat(), str(ref), blob))


def read(store: Store, day: date) -> list[dict[str, Any]]:
    """Return a day's entries in the order in which they were kept; none when its key is gone."""
    if not store.keyring.has(_ref(day)):
        return []
    key = derive(store.keyring.key(_ref(day)), "logins")
    rows = store.catalog.query("SELECT id, sealed FROM logins WHERE day = ? ORDER BY rowid", (day.isoformat(),))
    return [entry for row_id, blob in rows for entry in json.loads(unseal(key, blob, _aad(store, day, row_id)))]


def tag(store: Store, day: date, text: str) -> str:
    """Return what stands for an address on one day: equal for equal ones, and nothing else can be read from it."""
    ref = _ref(day)
    store.keyring.ensure([ref])
    return _tag(derive(store.keyring.key(ref), "address"), text)


def find_tag(store: Store, day: date, text: str) -> str | None:
    """Return `tag` of a day that has entries; None of another: asking makes no key."""
    ref = _ref(day)
    return _tag(derive(store.keyring.key(ref), "address"), text) if store.keyring.has(ref) else None


def erase(store: Store) -> int:
    """Erase the days whose time is over, by the clock that also judges partitions; return how many."""
    first = to_date(store.clock_guard.verdict().erase_us) - timedelta(days=KEEP_DAYS)
    over = [ref for ref in store.keyring.refs() if ref.kind == KEY_KIND and date.fromisoformat(ref.date) < first]
    store.keyring.destroy(over)
    rows = store.catalog.query("SELECT COUNT(*) FROM logins WHERE day < ?", (first.isoformat(),))[0][0]
    if not over and not rows:
        return 0
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM logins WHERE day < ?", (first.isoformat(),))
        store.outbox.put(cursor, [AuditEntry("logins.erased", {"days": len(over), "before": first.isoformat()}, None)])
    store.flush_outbox()
    return len(over)


def _tag(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256")[:TAG_BYTES].hex()


def _ref(day: date) -> KeyRef:
    return KeyRef(KEY_KIND, day.isoformat(), "people", "shared")


def _aad(store: Store, day: date, row_id: str) -> bytes:
    return f"logins|{store.store_id}|{day.isoformat()}|{row_id}".encode()
