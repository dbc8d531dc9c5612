"""Writing a partition anew without some of its records, so that the key under which those lie can be destroyed.

(1) What stays is merged into parts of the partition's next generation (`store.partitions.successor`), under a key of
its own: records, identities, postings and location. Durable; no catalog names them.
(2) One transaction: those parts are published, the old generation is `dropping`, the draft of the certificate and the
audit entries are there. Corrections and digests of deliveries go along under the new key, those of records that went
do not. It is begun anew if a delivery, a merge or a hold came meanwhile. From here scans and deliveries see the new
generation only.
(3) Scans that planned with the old one finish, for `READERS_WAIT_S` at most. Then the erasure goes on as any other
(`store.retention.expiry`): keyring n + 1 without the old key, root n destroyed, files unlinked, certificate.

A crash before (2) leaves orphans that recovery removes; after it, recovery rolls forward. Nothing about a record that
went is kept, not even a mark by which it would be known if it came again. Which records may go is said by who asks:
`store.retention.erasing`, `store.retention.reclassified_erasure`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import BusyError
from store import siblings
from store.audit import AuditEntry
from store.compaction import compact, merging
from store.keys import KeyRef, derive, seal, unseal
from store.model import PartRow, WrittenPart
from store.partitions import PartitionKey, successor
from store.publish import batch_aad, insert_part, part_manifest
from store.retention import certificates, expiry

if TYPE_CHECKING:
    from store.store import Store

READERS_WAIT_S: Final = 30.0
ATTEMPTS: Final = 5
_IDS_MAX: Final = 10_000
_HERE: Final = "q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?"

Places = Set[tuple[int, int]]
"""Batch and position of records."""
Goes = Callable[[pa.Table, npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.bool_]]
"""Tells of packed records, with their batches and positions, which ones go."""


class ChangedError(Exception):
    """A delivery, a merge or a hold came meanwhile."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A partition as it will be."""

    key: PartitionKey
    into: PartitionKey
    old: Sequence[PartRow]
    written: Sequence[WrittenPart]
    batches: Sequence[Counter[int]]
    withdrawn: Counter[int]
    """Left out because their batch was withdrawn."""
    erased: Counter[int]
    """Records that go, by batch."""

    @property
    def kept(self) -> int:
        """Records that stay."""
        return sum(part.rows for part in self.written)


def parts_of(store: Store, key: PartitionKey) -> list[PartRow]:
    """Return the published parts of a live partition."""
    return store.catalog.parts(_HERE, _name(key))


def holds_now(store: Store) -> list[tuple[Any, ...]]:
    """Return what changes when a hold comes, is extended or ends."""
    return store.catalog.query("SELECT id, revision FROM documents WHERE kind = 'hold' ORDER BY id")


def rewrite(store: Store, key: PartitionKey, goes: Goes) -> Rewritten:
    """Step (1); the caller holds the erasure lock, and keeps others from taking the files for orphans.

    Raises:
        BusyError: the location of the partition is being erased.
        IntegrityError: a part does not authenticate.
    """
    if store.catalog.location_states().get(key.location) == "dropping":
        raise BusyError("the location of the partition is being erased", hint="run expiry, then try again")
    parts, into = parts_of(store, key), successor(key)
    located = any(part.location_bytes for part in parts)
    store.keyring.ensure([into.ref, into.location.ref] if located else [into.ref])
    secret, beside = store.keyring.key(into.ref), store.keyring.key(into.location.ref) if located else None
    withdrawn: Counter[int] = Counter()
    erased: Counter[int] = Counter()
    made: list[tuple[WrittenPart, Counter[int]]] = []

    def write(records: pa.Table) -> tuple[WrittenPart, Counter[int]]:
        written = store.part_store.write(into, secret, records, None, location_key=beside)
        return written, compact.batches_of(records)

    for first in range(0, len(parts), merging.FAN_IN_MAX):
        group = parts[first : first + merging.FAN_IN_MAX]
        with ExitStack() as stack:
            readers = [
                stack.enter_context(
                    store.part_store.open(
                        key, part.file_id, store.keyring.key(key.ref), siblings.reading_key(store, part)
                    )
                )
                for part in group
            ]
            prepares = [partial(_prepared, part, goes, withdrawn, erased) for part in group]
            stretches = merging.merged(readers, prepares, compact.MERGED_ROWS_MAX)
            made += compact.written_by(stretches, write, store.part_store)
    if made:
        store.part_store.sync_names(into)
    written, batches = [part for part, _ in made], [counted for _, counted in made]
    return Rewritten(key, into, parts, written, batches, withdrawn, erased)


def discard(store: Store, made: Rewritten) -> None:
    """Remove what was written and will not be published."""
    for part in made.written:
        store.part_store.discard(part)


def _prepared(part: PartRow, goes: Goes, withdrawn: Counter[int], erased: Counter[int], records: pa.Table) -> pa.Table:
    """Leave out what goes and what is withdrawn, and name the batch in every row."""
    positions = np.asarray(records.column("batch_position").cast(pa.int64()).to_numpy())
    if part.batch_id is None:
        batches = np.asarray(records.column("batch_id").cast(pa.int64()).to_numpy())
    else:
        batches = np.full(len(positions), part.batch_id, np.int64)
    gone = goes(records, batches, positions)
    if gone.any():
        found, counts = np.unique(batches[gone], return_counts=True)
        erased.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        records = records.filter(pa.array(~gone))
    return compact.prepared(part, True, withdrawn, records)


def refuse_changed(store: Store, made: Rewritten, holds: Sequence[tuple[Any, ...]]) -> None:
    """Return if the partition and the holds are as they were; within the transaction that publishes.

    Raises:
        ChangedError: they are not; what was written is removed.
    """
    same = {part.part_id for part in parts_of(store, made.key)} == {part.part_id for part in made.old}
    if not same or holds_now(store) != holds:
        discard(store, made)
        raise ChangedError


def publish(
    store: Store,
    cursor: sqlite3.Cursor,
    made: Rewritten,
    drafted: Mapping[str, Any],
    gone: Places,
    entry: tuple[str, Mapping[str, Any], Mapping[str, Any] | None],
) -> None:
    """Step (2).

    Args:
        store: whose partition it is.
        cursor: of the transaction.
        made: what step (1) made.
        drafted: the certificate's draft; its `rewritten` says what went and why.
        gone: the records with corrections, of those that go.
        entry: kind, public and secret words of the audit entry; what was done is added to the public ones.
    """
    key, into = made.key, made.into
    cursor.execute(
        "INSERT INTO partitions (end_date, retention_class, key_domain, state) VALUES (?, ?, ?, 'live')", _name(into)
    )
    for part, counted in zip(made.written, made.batches, strict=True):
        part_id = insert_part(cursor, None, part)
        cursor.executemany(
            "INSERT INTO part_batches (part_id, batch_id, rows) VALUES (?, ?, ?)",
            [(part_id, batch_id, rows) for batch_id, rows in counted.items()],
        )
    ended = store.corrections.move(cursor, key, into, gone)
    _move_digests(store, cursor, made)
    certificates.begin(cursor, drafted)
    expiry.set_state(cursor, [key], "dropping")
    kind, public, secret = entry
    public_fields = {
        **public,
        **drafted["rewritten"],
        "partition": str(key),
        "ended": sorted(ended),
        "parts": [part_manifest(part) for part in made.written],
    }
    intent = {name: value for name, value in drafted.items() if name != "files"}
    entries = [AuditEntry(kind, public_fields, None if secret is None else dict(secret))]
    store.outbox.put(cursor, [*entries, AuditEntry("erasure.intended", intent, None)])


def certificate_fields(made: Rewritten, citation: str) -> dict[str, Any]:
    """Return what a certificate says of a partition that was written anew."""
    return {
        "citation": citation,
        "into": str(made.into),
        "erased": made.erased.total(),
        "withdrawn": made.withdrawn.total(),
        "kept": made.kept,
    }


def _move_digests(store: Store, cursor: sqlite3.Cursor, made: Rewritten) -> None:
    """Let the digest of a delivery that had a record which goes end with the old key, and the others go on."""
    columns = "SELECT batch_id, key_ref, sealed FROM batches WHERE"
    rows = cursor.execute(f"{columns} key_ref = ?", (str(made.key.ref),)).fetchall()
    batches = sorted(made.erased)
    for first in range(0, len(batches), _IDS_MAX):
        ids = batches[first : first + _IDS_MAX]
        marks = ", ".join("?" * len(ids))
        rows += cursor.execute(f"{columns} batch_id IN ({marks})", ids).fetchall()
    for batch_id, ref, sealed in dict.fromkeys(rows):
        home = made.key if batch_id in made.erased else made.into
        if ref == str(home.ref) or not store.keyring.has(KeyRef.parse(ref)):
            continue
        plain = unseal(derive(store.keyring.key(KeyRef.parse(ref)), "batch"), sealed, batch_aad(batch_id))
        again = seal(derive(store.keyring.key(home.ref), "batch"), plain, batch_aad(batch_id))
        cursor.execute(
            "UPDATE batches SET key_ref = ?, sealed = ? WHERE batch_id = ?", (str(home.ref), again, batch_id)
        )


def finish(store: Store, report: Callable[[str], None]) -> None:
    """Step (3), of all that was published.

    Raises:
        AuditError: the intent could not be logged; the erasure is finished by the next expiry run that can.
    """
    store.flush_outbox(required=True)
    store.known.clear()
    report("published")
    store.readers.turns.wait(READERS_WAIT_S)  # a scan that takes longer gets an error instead
    expiry.finish(store, report)


def _name(key: PartitionKey) -> tuple[str, str, str]:
    return key.end_date.isoformat(), key.retention_class, key.key_domain
