"""Refused records: kept encrypted under the key of the day on which they came, listed, shown and replayed.

A reject holds no content: the decoder cut it out before. What has no readable end is presumed to end on the day it
came, and goes at the floor with that day's key.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import NotFoundError
from schemas.rejects import Reject, RejectReason
from store.clock import to_date
from store.keys import KeyRef, derive, seal, unseal
from store.model import Receipt

if TYPE_CHECKING:
    from store.store import Store

REJECTS_PER_ENTRY: Final = 500
_COLUMNS: Final = "quarantine_id, batch_id, source, format, received_us, rejects, replayed_us"


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """Up to 500 rejects of one batch."""

    quarantine_id: int
    batch_id: int
    source: str
    format: str
    received_us: int
    rejects: int
    replayed_us: int | None


def intake_ref(received_us: int) -> KeyRef:
    """Return the key of what came on a day and has no partition: quarantine, batches without records."""
    return KeyRef("quarantine", to_date(received_us).isoformat(), "intake", "shared")


def insert(store: Store, cursor: sqlite3.Cursor, receipt: Receipt, received_us: int, rejects: Sequence[Reject]) -> None:
    """Keep the rejects of a batch, within its transaction."""
    if not rejects:
        return
    ref = intake_ref(received_us)
    key = derive(store.keyring.key(ref), "quarantine")
    for chunk in _chunks(rejects):
        blob = seal(key, json.dumps([_encode(reject) for reject in chunk]).encode(), str(receipt.batch_id).encode())
        cursor.execute(
            "INSERT INTO quarantine (batch_id, source, format, received_us, rejects, key_ref, sealed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (receipt.batch_id, receipt.source, receipt.format, received_us, len(chunk), str(ref), blob),
        )


def entries(store: Store, batch_id: int | None = None) -> list[QuarantineEntry]:
    """Return what is in quarantine, oldest first."""
    where, parameters = ("batch_id = ?", (batch_id,)) if batch_id is not None else ("1", ())
    rows = store.catalog.query(
        f"SELECT {_COLUMNS} FROM quarantine WHERE {where} ORDER BY quarantine_id",  # noqa: S608
        parameters,
    )
    return [QuarantineEntry(*row) for row in rows]


def rejects(store: Store, quarantine_id: int) -> list[Reject]:
    """Return the rejects of one entry, decrypted.

    Raises:
        NotFoundError: there is no such entry.
        KeyUnavailableError: its day's key is destroyed.
    """
    rows = store.catalog.query(
        "SELECT batch_id, key_ref, sealed FROM quarantine WHERE quarantine_id = ?", (quarantine_id,)
    )
    if not rows:
        raise NotFoundError("there is no such quarantine entry", hint="`lagrum quarantine list` shows them")
    batch_id, ref, blob = rows[0]
    key = derive(store.keyring.key(KeyRef.parse(ref)), "quarantine")
    return [_decode(item) for item in json.loads(unseal(key, blob, str(batch_id).encode()))]


def mark_replayed(store: Store, quarantine_ids: Sequence[int], now_us: int) -> None:
    """Note that entries were delivered again; they stay until their day's key goes."""
    with store.catalog.transaction() as cursor:
        cursor.executemany(
            "UPDATE quarantine SET replayed_us = ? WHERE quarantine_id = ?", [(now_us, item) for item in quarantine_ids]
        )


def _chunks(items: Sequence[Reject]) -> Iterator[Sequence[Reject]]:
    for start in range(0, len(items), REJECTS_PER_ENTRY):
        yield items[start : start + REJECTS_PER_ENTRY]


def _encode(reject: Reject) -> dict[str, Any]:
    return {
        "position": reject.position,
        "reason": reject.reason.value,
        "field": reject.field,
        "offset": reject.offset,
        "length_bytes": reject.length_bytes,
        "raw": base64.b64encode(reject.raw).decode() if reject.raw is not None else None,
    }


def _decode(item: dict[str, Any]) -> Reject:
    raw = base64.b64decode(item["raw"]) if item["raw"] is not None else None
    return Reject(
        item["position"], RejectReason(item["reason"]), item["field"], item["offset"], item["length_bytes"], raw
    )
