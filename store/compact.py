"""Compaction: small parts of a partition become few sorted ones, without a reader or a writer noticing.

1. The parts to merge are chosen by size (pure): like with like, so that a record is rewritten a few times at most.
2. They are read, merged and written as one part whose rows carry their `batch_id`; durable, and seen by nobody.
3. One transaction puts the new part in the place of the old ones, which are retired, with its audit entry.
4. Retired files are unlinked when no reader is at work; until then a reader that planned with them finds them.

A crash before (3) leaves an orphan that recovery removes; after it, retired files that the next run removes. A
partition that is dropped is never touched. What a withdrawn batch brought stays, hidden row by row, until its partition
ends.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from schemas.errors import BusyError
from store import files, floorguard
from store.audit import AuditEntry
from store.model import PartRow
from store.partitions import PartitionKey
from store.parts import WrittenPart
from store.publish import insert_part, part_manifest

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

MERGED_ROWS_MAX: Final = 2_000_000
"""A merged part has at most so many rows: the bound of compaction's memory."""
FAN_IN: Final = 4
"""So many parts of like size are merged into one of the next."""
_TIER_BITS: Final = 2  # a tier holds parts up to four times as large as the one below


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a run of compaction did."""

    partitions: int
    merged: int
    """Parts that were merged."""
    parts: int
    """Parts that they became."""
    rows: int
    bytes_read: int
    bytes_written: int
    retired: int
    """Files still waiting for a reader to finish."""

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON-ready data."""
        return {name: getattr(self, name) for name in self.__slots__}


def choose(parts: Sequence[PartRow], *, everything: bool) -> list[list[PartRow]]:
    """Return the groups of parts of one partition to merge. Pure.

    By default parts of like size, when there are enough of them; `everything` packs all that fits together.
    """
    tiers: dict[int, list[PartRow]] = defaultdict(list)
    for part in sorted(parts, key=lambda part: (part.rows, part.part_id)):
        if not part.withdrawn and part.rows < MERGED_ROWS_MAX:
            tiers[0 if everything else part.rows.bit_length() // _TIER_BITS].append(part)
    groups = []
    for tier in tiers.values():
        group: list[PartRow] = []
        for part in tier:
            if sum(other.rows for other in group) + part.rows > MERGED_ROWS_MAX:
                groups.append(group)
                group = []
            group.append(part)
        groups.append(group)
    return [group for group in groups if len(group) >= (2 if everything else FAN_IN)]


def compact(store: Store, *, everything: bool = False, partition: PartitionKey | None = None) -> Compacted:
    """Merge the small parts of one partition, or of all.

    Raises:
        BusyError: another process compacts.
        IntegrityError: a part does not authenticate; it is left as it is.
    """
    done: list[tuple[Sequence[PartRow], WrittenPart]] = []
    touched = set()
    with files.lock(store.layout.compaction_lock, exclusive=True, blocking=False):
        by_partition: dict[PartitionKey, list[PartRow]] = defaultdict(list)
        for part in store.catalog.parts():
            if partition is None or part.partition == partition:
                by_partition[part.partition].append(part)
        for key, parts in by_partition.items():
            for group in choose(parts, everything=everything):
                written = _merge(store, key, group)
                if written is not None:
                    done.append((group, written))
                    touched.add(key)
    store.flush_outbox()
    return Compacted(
        partitions=len(touched),
        merged=sum(len(group) for group, _ in done),
        parts=len(done),
        rows=sum(part.rows for _, part in done),
        bytes_read=sum(part.bytes for group, _ in done for part in group),
        bytes_written=sum(part.total_bytes for _, part in done),
        retired=unlink_retired(store),
    )


def unlink_retired(store: Store) -> int:
    """Unlink retired files when no reader is at work; return how many parts still wait."""
    waiting = store.catalog.query("SELECT count(*) FROM retired")[0][0]
    if not waiting:
        return 0
    with suppress(BusyError), files.lock(store.layout.readers_lock, exclusive=True, blocking=False):
        merged = floorguard.removed(store)
        for part in store.catalog.retired():
            if part.file_id not in merged:
                continue  # the log does not know that it was merged: its entry waits, or somebody edited the catalog
            store.part_store.discard(part)
            with store.catalog.transaction() as cursor:
                cursor.execute("DELETE FROM retired WHERE file_id = ?", (part.file_id,))
        waiting = 0
    return int(waiting)


def _merge(store: Store, key: PartitionKey, group: Sequence[PartRow]) -> WrittenPart | None:
    """Merge a group; None when something else was done to its parts meanwhile."""
    with store.writers.holding():  # nobody takes the new files for orphans
        secret = store.keyring.key(key.ref)
        records = pa.concat_tables([_records(store, part, secret) for part in group], promote_options="default")
        written = store.part_store.write(key, secret, records, store.hasher.tags(records))
        store.part_store.sync_directory(key)
        with store.catalog.transaction() as cursor:
            if not _still_there(cursor, group):
                store.part_store.discard(written)
                return None
            _replace(cursor, group, written, records)
            entry = {
                "partition": str(key),
                "removed": [part.file_id for part in group],
                "parts": [part_manifest(written)],
            }
            store.outbox.put(cursor, [AuditEntry("compaction", entry, None)])
    store.known.merged((part.file_id for part in group), [written.file_id])
    return written


def _records(store: Store, part: PartRow, secret: bytes) -> pa.Table:
    records = store.part_store.read_records(part.partition, part.file_id, secret)
    if part.batch_id is None:
        return records
    return records.append_column("batch_id", pa.array(np.full(records.num_rows, part.batch_id, np.int64)))


def _still_there(cursor: sqlite3.Cursor, group: Sequence[PartRow]) -> bool:
    found = 0
    for part in group:
        found += cursor.execute(
            "SELECT count(*) FROM parts JOIN partitions USING (partition_id) WHERE part_id = ? AND state = 'live'",
            (part.part_id,),
        ).fetchone()[0]
    return found == len(group)


def _replace(cursor: sqlite3.Cursor, group: Sequence[PartRow], written: WrittenPart, records: pa.Table) -> None:
    part_id = insert_part(cursor, None, written)
    counts = pc.value_counts(records.column("batch_id").combine_chunks())
    cursor.executemany(
        "INSERT INTO part_batches (part_id, batch_id, rows) VALUES (?, ?, ?)",
        [(part_id, item["values"], item["counts"]) for item in counts.to_pylist()],
    )
    for part in group:
        cursor.execute(
            "INSERT INTO retired (file_id, partition_id) SELECT file_id, partition_id FROM parts WHERE part_id = ?",
            (part.part_id,),
        )
        cursor.execute("DELETE FROM part_batches WHERE part_id = ?", (part.part_id,))
        cursor.execute("DELETE FROM parts WHERE part_id = ?", (part.part_id,))
        cursor.execute(
            "UPDATE partitions SET rows = rows - ?, parts = parts - 1, bytes = bytes - ? "
            "WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
            (
                part.rows,
                part.total_bytes,
                part.partition.end_date.isoformat(),
                part.partition.retention_class,
                part.partition.key_domain,
            ),
        )
