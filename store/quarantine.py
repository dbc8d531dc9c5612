"""Refused records: kept encrypted under the key of the day on which they came, listed, shown and replayed.

A reject holds no content: the decoder cut it out before. What has no readable end is presumed to end on the day it
came, and goes at the floor with that day's key.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from schemas.errors import NotFoundError
from schemas.rejects import Reject, RejectReason
from store import files
from store.clock import to_date
from store.keys import KeyRef, derive, seal, unseal
from store.model import Receipt

if TYPE_CHECKING:
    from store.store import Store

REJECTS_PER_ENTRY: Final = 500
RAW_BYTES_PER_ENTRY: Final = 4 << 20
"""An entry is closed when its rejects are so many, or so large."""
SPOOL_MEMORY_BYTES_MAX: Final = 16 << 20
"""Sealed rejects of one batch that stay in memory; more go to a file without a name."""
_SPOOL: Final = b"spool"
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


class RejectSpool:
    """The rejects of one unfinished batch, in bounded memory.

    They lie sealed under a key that only this object has, in memory or, when they are many, in a file without a name: a
    crash leaves nothing of them. `write` seals them anew under the day's key.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = os.urandom(32)
        self._pending: list[Reject] = []
        self._pending_bytes = 0
        self._blobs: list[bytes] = []
        self._blobs_bytes = 0
        self._file: BinaryIO | None = None
        self._sizes: list[int] = []
        self.reasons: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Rejects so far, expired ones included."""
        return self.reasons.total()

    def add(self, rejects: Iterable[Reject]) -> None:
        """Take rejects in."""
        for reject in rejects:
            self.reasons[reject.reason.value] += 1
            self._pending.append(reject)
            self._pending_bytes += len(reject.raw or b"")
            if len(self._pending) >= REJECTS_PER_ENTRY or self._pending_bytes >= RAW_BYTES_PER_ENTRY:
                self._seal()

    def count_expired(self, rows: int) -> None:
        """Count records whose period is over; nothing of them is kept."""
        if rows:
            self.reasons[RejectReason.EXPIRED.value] += rows

    def write(self, store: Store, cursor: sqlite3.Cursor, receipt: Receipt, received_us: int) -> None:
        """Put the rejects into quarantine, within the transaction of their batch."""
        self._seal()
        ref = intake_ref(received_us)
        for blob in self._sealed():
            plain = unseal(self._key, blob, _SPOOL)
            size, packed = plain.split(b"\n", 1)
            sealed = seal(derive(store.keyring.key(ref), "quarantine"), packed, str(receipt.batch_id).encode())
            cursor.execute(
                "INSERT INTO quarantine (batch_id, source, format, received_us, rejects, key_ref, sealed) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (receipt.batch_id, receipt.source, receipt.format, received_us, int(size), str(ref), sealed),
            )

    def close(self) -> None:
        """Let go of everything."""
        self._pending, self._blobs = [], []
        if self._file is not None:
            self._file.close()
            self._file = None

    def _seal(self) -> None:
        if not self._pending:
            return
        packed = json.dumps([encode(reject) for reject in self._pending]).encode()
        blob = seal(self._key, str(len(self._pending)).encode() + b"\n" + packed, _SPOOL)
        self._pending, self._pending_bytes = [], 0
        if self._file is None and self._blobs_bytes + len(blob) <= SPOOL_MEMORY_BYTES_MAX:
            self._blobs.append(blob)
            self._blobs_bytes += len(blob)
            return
        if self._file is None:
            self._file = files.nameless(self._directory)
        self._file.seek(0, os.SEEK_END)
        self._file.write(blob)
        self._sizes.append(len(blob))

    def _sealed(self) -> Iterator[bytes]:
        yield from self._blobs
        if self._file is not None:
            self._file.seek(0)
            for size in self._sizes:
                yield self._file.read(size)


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
    return [decode(item) for item in json.loads(unseal(key, blob, str(batch_id).encode()))]


def mark_replayed(store: Store, quarantine_ids: Sequence[int], now_us: int) -> None:
    """Note that entries were delivered again; they stay until their day's key goes."""
    with store.catalog.transaction() as cursor:
        cursor.executemany(
            "UPDATE quarantine SET replayed_us = ? WHERE quarantine_id = ?", [(now_us, item) for item in quarantine_ids]
        )


def encode(reject: Reject) -> dict[str, Any]:
    """Return a reject as JSON-ready data."""
    return {
        "position": reject.position,
        "reason": reject.reason.value,
        "field": reject.field,
        "offset": reject.offset,
        "length_bytes": reject.length_bytes,
        "raw": base64.b64encode(reject.raw).decode() if reject.raw is not None else None,
    }


def decode(item: dict[str, Any]) -> Reject:
    """Return the reject of `encode`'s data."""
    raw = base64.b64decode(item["raw"]) if item["raw"] is not None else None
    return Reject(
        item["position"], RejectReason(item["reason"]), item["field"], item["offset"], item["length_bytes"], raw
    )
