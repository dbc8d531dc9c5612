"""One transaction makes a batch visible: parts, rejects, sessions, counts and its audit entry, or none of them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from schemas.errors import BusyError, InputError
from store import quarantine, siblings
from store.audit import AuditEntry
from store.identities.dedup import HORIZON_DAYS, Fate, classify
from store.identities.identity_lookup import PartSource
from store.keys import KeyRef, derive, seal, unseal
from store.model import Receipt, SourceRef, WrittenPart
from store.open_sessions.sessions import SessionArea
from store.partitions import date_to_day
from store.quarantine import RejectSpool

if TYPE_CHECKING:
    from store.store import Store

TIMEOUT_FORMAT: Final = "session-timeout"
"""The batches in which the store itself closes silent sessions."""
IDEMPOTENCY_DAYS: Final = 7
"""A repeated idempotency key is recognised for so long; records are recognised by their identity for ever."""
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US

OnPublish = Callable[[sqlite3.Cursor, Receipt], None]
"""Runs last within the transaction of a batch; when it raises, nothing of the batch is visible."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything that a batch wants to publish."""

    source: SourceRef
    format: str
    received_us: int
    records: int
    accepted: int
    duplicates: int
    conflicts: int
    rejects: RejectSpool
    parts: Sequence[WrittenPart]
    written: list[WrittenPart]
    """Everything that lies on the disk for the batch; what it writes anew while it settles is added."""
    sessions: SessionArea | None
    sha256: bytes
    size_bytes: int
    started: float
    snapshot: int
    seen: frozenset[str]
    """Files of newer parts that the batch was compared with all the same."""
    withdrawals: int
    idempotency_tag: bytes | None
    on_publish: OnPublish | None = None


def publish(store: Store, batch: Publication) -> tuple[Receipt, Sequence[WrittenPart]]:
    """Publish a batch; return its receipt and the parts that it became.

    Raises:
        BusyError: a partition's period ended, a batch was withdrawn or sessions changed meanwhile; nothing is visible.
        InputError: the idempotency key was used for another delivery; nothing is visible.
    """
    store.ensure_intake_key(batch.received_us)
    # Most of the comparison is done before the catalog is locked; under the lock only what came since remains.
    newest = store.catalog.change_counter()
    batch = replace(_against_newer(store, batch), snapshot=newest)
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM idempotency WHERE until_us < ?", (batch.received_us,))
        if batch.idempotency_tag is not None:
            earlier = cursor.execute(
                "SELECT batch_id FROM idempotency WHERE tag = ?", (batch.idempotency_tag,)
            ).fetchone()
            if earlier:
                receipt = stored_receipt(store, earlier[0], replayed=True)
                refuse_other_delivery(receipt, batch.sha256)
                for part in batch.parts:
                    store.part_store.discard(part)
                return receipt, ()
        batch = _against_newer(store, batch)
        ref = min((part.partition for part in batch.parts), default=None)
        key_ref = ref.ref if ref is not None else quarantine.intake_ref(batch.received_us)
        receipt = _insert_batch(store, cursor, batch, key_ref)
        for part in batch.parts:
            insert_part(cursor, receipt.batch_id, part)
        if batch.format != TIMEOUT_FORMAT:  # nobody delivered it: it was counted when its first event came
            _count_intake(cursor, receipt, batch.source.transport, batch.received_us)
            ends = [part.end_us_max for part in batch.parts]
            if ends:
                store.clock_guard.note_arrival(cursor, batch.source.name, batch.received_us, max(ends))
        batch.rejects.write(store, cursor, receipt, batch.received_us)
        if batch.sessions is not None:
            batch.sessions.write(cursor, receipt.batch_id, batch.received_us)
        if batch.idempotency_tag is not None:
            until = batch.received_us + IDEMPOTENCY_DAYS * _DAY_US
            cursor.execute("INSERT INTO idempotency VALUES (?, ?, ?)", (batch.idempotency_tag, receipt.batch_id, until))
        store.outbox.put(cursor, [_manifest(receipt, batch)])
        if batch.on_publish is not None:
            batch.on_publish(cursor, receipt)
    return receipt, batch.parts


def refuse_other_delivery(earlier: Receipt, sha256: bytes) -> None:
    """Raise when an idempotency key comes again with other bytes: to answer with the old receipt would lose them.

    Raises:
        InputError: the bytes are not those of the earlier delivery.
    """
    if earlier.sha256 and earlier.sha256 != sha256.hex():
        raise InputError(
            "the idempotency key was used for another delivery", hint="a key belongs to one delivery and its retries"
        )


def stored_receipt(store: Store, batch_id: int, *, replayed: bool) -> Receipt:
    """Return the receipt of a published batch; its SHA-256 is empty once its oldest partition's key is destroyed."""
    row = store.catalog.query(
        "SELECT source, format, records, accepted, duplicates, conflicts, rejected, rows, bytes, seconds, "
        "reject_reasons, key_ref, sealed FROM batches WHERE batch_id = ?",
        (batch_id,),
    )[0]
    ref = KeyRef.parse(row[11])
    sha256 = ""
    if store.keyring.has(ref):
        sha256 = unseal(derive(store.keyring.key(ref), "batch"), row[12], batch_aad(batch_id)).decode()
    return Receipt(*(batch_id, *row[:9], sha256, row[9], replayed, json.loads(row[10])))


def batch_aad(batch_id: int) -> bytes:
    """Return what binds the sealed column of a batch to its row."""
    return f"batch|{batch_id}".encode()


def _against_newer(store: Store, batch: Publication) -> Publication:
    """Settle what this batch and the batches published since its snapshot have in common."""
    days = {date_to_day(part.partition.end_date) for part in batch.parts}
    near = {other for day in days for other in range(day - HORIZON_DAYS, day + HORIZON_DAYS + 1)}
    states = store.catalog.partition_states()
    clock = store.clock_guard.verdict()
    for part in batch.parts:
        if states.get(part.partition) in ("dropping", "dropped") or not clock.is_kept(
            part.partition, json.loads(part.services)
        ):
            raise BusyError("the period of a partition of the batch ended meanwhile", hint="deliver the batch again")
    siblings.refuse_over(batch.parts, clock)
    if store.catalog.withdrawals() != batch.withdrawals:  # its records may be what made ours duplicates
        raise BusyError("a batch was withdrawn meanwhile", hint="deliver the batch again")
    newer = store.parts_of_days(near, after=batch.snapshot)
    newer = [part for part in newer if part.file_id not in batch.seen]
    if not newer:
        return batch
    known = [PartSource(store.known, part) for part in newer]
    parts: list[WrittenPart] = []
    counts: Counter[str] = Counter()
    for part in batch.parts:
        source = PartSource(store.known, part)
        own = source.asked()
        near_by = [other for other in known if abs(other.day - source.day) <= HORIZON_DAYS]
        shared = [other for other in near_by if len(other.find(own)[0])]
        if not shared:
            parts.append(part)
            continue
        key = store.keyring.key(part.partition.ref)
        location = siblings.reading_key(store, part)
        records = store.part_store.read_records(part.partition, part.file_id, key, location=location)
        fates = classify(records, store.hasher.tags(records), store.hasher, shared, within=False)
        if not fates.any():
            parts.append(part)
            continue
        flagged = np.asarray(records.column("conflict").combine_chunks())
        counts["duplicates"] += int((fates == Fate.DUPLICATE).sum())
        counts["unflagged"] += int(((fates == Fate.DUPLICATE) & flagged).sum())
        counts["conflicts"] += int(((fates == Fate.CONFLICT) & ~flagged).sum())
        place = records.column_names.index("conflict")
        records = records.set_column(place, "conflict", pa.array(flagged | (fates == Fate.CONFLICT)))
        records = records.filter(pa.array(fates != Fate.DUPLICATE))
        if records.num_rows:
            tags, beside = store.hasher.tags(records), location() if location is not None else None
            settled = store.part_store.write(part.partition, key, records, tags, location_key=beside)
            settled = replace(settled, location_over=min(part.location_over, settled.rows))
            batch.written.append(settled)
            parts.append(settled)
        store.part_store.discard(part)
    store.part_store.sync_names(*{part.partition for part in parts})
    return replace(
        batch,
        parts=parts,
        duplicates=batch.duplicates + counts["duplicates"],
        conflicts=batch.conflicts + counts["conflicts"] - counts["unflagged"],
        accepted=batch.accepted - (counts["duplicates"] - counts["unflagged"]) - counts["conflicts"],
    )


def _insert_batch(store: Store, cursor: sqlite3.Cursor, batch: Publication, key_ref: KeyRef) -> Receipt:
    reasons = batch.rejects.reasons
    rows = sum(part.rows for part in batch.parts)
    seconds = time.monotonic() - batch.started
    counts = (batch.records, batch.accepted, batch.duplicates, batch.conflicts, batch.rejects.count, rows)
    cursor.execute(
        "INSERT INTO batches (source, format, received_us, records, accepted, duplicates, conflicts, rejected, rows, "
        "bytes, seconds, reject_reasons, key_ref, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            batch.source.name,
            batch.format,
            batch.received_us,
            *counts,
            batch.size_bytes,
            seconds,
            json.dumps(reasons, sort_keys=True),
            str(key_ref),
            b"",
        ),
    )
    batch_id = cursor.lastrowid
    assert batch_id is not None
    sealed = seal(derive(store.keyring.key(key_ref), "batch"), batch.sha256.hex().encode(), batch_aad(batch_id))
    cursor.execute("UPDATE batches SET sealed = ? WHERE batch_id = ?", (sealed, batch_id))
    return Receipt(
        batch_id,
        batch.source.name,
        batch.format,
        *counts,
        bytes=batch.size_bytes,
        sha256=batch.sha256.hex(),
        seconds=seconds,
        reject_reasons=dict(reasons),
    )


def insert_part(cursor: sqlite3.Cursor, batch_id: int | None, part: WrittenPart) -> int:
    """Publish a part within the open transaction; return its id. `batch_id` is None for a merged one."""
    key = part.partition
    name = (key.end_date.isoformat(), key.retention_class, key.key_domain)
    cursor.execute(
        "INSERT INTO partitions (end_date, retention_class, key_domain, state, rows, parts, bytes, location_state) "
        "VALUES (?, ?, ?, 'live', ?, 1, ?, ?) ON CONFLICT (end_date, retention_class, key_domain) DO UPDATE SET "
        "rows = rows + excluded.rows, parts = parts + 1, bytes = bytes + excluded.bytes, sealed = 0, "
        "location_state = coalesce(location_state, excluded.location_state)",
        (*name, part.rows, part.total_bytes, "live" if part.location_bytes else None),
    )
    cursor.execute(
        "INSERT INTO parts (file_id, partition_id, batch_id, rows, bytes, sha256, identities_bytes, identities_sha256, "
        "index_bytes, index_sha256, start_us_min, end_us_min, end_us_max, schema_version, "
        "location_rows, location_bytes, location_sha256, services) "
        "SELECT ?, partition_id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? "
        "FROM partitions WHERE end_date = ? AND retention_class = ? AND key_domain = ? "
        "AND (? = 0 OR location_state = 'live')",
        (
            part.file_id,
            batch_id,
            part.rows,
            part.bytes,
            part.sha256,
            part.identities_bytes,
            part.identities_sha256,
            part.index_bytes,
            part.index_sha256,
            part.start_us_min,
            part.end_us_min,
            part.end_us_max,
            part.schema_version,
            part.location_rows,
            part.location_bytes,
            part.location_sha256,
            part.services,
            *name,
            part.location_bytes,
        ),
    )
    if cursor.rowcount != 1:
        raise BusyError("the location of a partition of the batch was erased meanwhile", hint="deliver the batch again")
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _count_intake(cursor: sqlite3.Cursor, receipt: Receipt, transport: str, received_us: int) -> None:
    cursor.execute(
        "INSERT INTO intake VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, transport, hour_us) DO UPDATE SET "
        "delivered = delivered + excluded.delivered, stored = stored + excluded.stored, "
        "duplicates = duplicates + excluded.duplicates, conflicts = conflicts + excluded.conflicts, "
        "rejects = rejects + excluded.rejects",
        (
            receipt.source,
            transport,
            received_us - received_us % _HOUR_US,
            receipt.records,
            receipt.accepted,
            receipt.duplicates,
            receipt.conflicts,
            receipt.rejected,
        ),
    )


def part_manifest(part: WrittenPart) -> dict[str, Any]:
    """Return what the audit log says of a part."""
    return {
        "partition": str(part.partition),
        "file": part.file_id,
        "rows": part.rows,
        "sha256": part.sha256,
        "identities_sha256": part.identities_sha256,
        "index_sha256": part.index_sha256,
        "services": json.loads(part.services),
        **({"location_sha256": part.location_sha256} if part.location_bytes else {}),
        **({"location_over": part.location_over} if part.location_over else {}),
    }


def _manifest(receipt: Receipt, batch: Publication) -> AuditEntry:
    public = {
        "batch": receipt.batch_id,
        "source": receipt.source,
        "format": receipt.format,
        "records": receipt.records,
        "accepted": receipt.accepted,
        "duplicates": receipt.duplicates,
        "conflicts": receipt.conflicts,
        "rejected": receipt.rejected,
        "rows": receipt.rows,
        "parts": [part_manifest(part) for part in batch.parts],
    }
    return AuditEntry("batch", public, None)
